"""What Ray wraps around an error, and the sentence that people get."""

from __future__ import annotations

import pytest

from cluster.ray_errors import raised_in_constructor

# As Ray 2.60 words it.
TEXT = """The actor died because of an error raised in its creation task, \x1b[36mray::CardWorker.__init__()\x1b[39m \
(pid=5781, ip=192.0.2.2, actor_id=45ed, repr=<cluster.worker.CardWorker object at 0x7f5a>)
OSError: inner

The above exception was the direct cause of the following exception:

\x1b[36mray::CardWorker.__init__()\x1b[39m (pid=5781, ip=192.0.2.2, actor_id=45ed, repr=<cluster.worker.CardWorker>)
           ^^^^^^^^^^^^^^^^^^^^
  File "worker.py", line 12, in __init__
    raise DeviceError("card lock 'x' must be free,\\nand process 3 holds it") from error
"""


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        ("bmodel.errors.DeviceError: card lock 'x': taken", "card lock 'x': taken"),
        (
            "bmodel.errors.LibraryError: SAIL cannot be loaded:\n  libbmrt.so: no such file",
            "SAIL cannot be loaded: libbmrt.so: no such file",
        ),
        (
            "ValueError: device_id must be non-negative, got -1",
            "ValueError: device_id must be non-negative, got -1",
        ),
        ("json.decoder.JSONDecodeError: Extra data", "JSONDecodeError: Extra data"),
    ],
)
def test_a_constructors_error_is_told_in_its_own_words(raised: str, sentence: str) -> None:
    assert raised_in_constructor(TEXT + raised) == sentence


def test_other_deaths_of_an_actor_are_none_of_its_constructor() -> None:
    assert raised_in_constructor("The actor died because its node has died.\nX: y") is None
    assert raised_in_constructor("The actor died because of an error raised in its creation task") is None
