"""What Ray wraps around an error, and the sentence that people get."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from bmodel.errors import CardTakenError, DeviceError
from cluster.pool.ray_errors import own_error, raised_in_constructor, sentence_of

# As Ray 2.60 words it.
TEXT = """The actor died because of an error raised in its creation task, \x1b[36mray::CardWorker.__init__()\x1b[39m \
(pid=5781, ip=192.0.2.2, actor_id=45ed, repr=<cluster.pool.worker.CardWorker object at 0x7f5a>)
OSError: inner

The above exception was the direct cause of the following exception:

\x1b[36mray::CardWorker.__init__()\x1b[39m (pid=5781, ip=192.0.2.2, actor_id=45ed, repr=<cluster.pool.worker.CardWorker>)
           ^^^^^^^^^^^^^^^^^^^^
  File "worker.py", line 12, in __init__
    raise DeviceError("card lock 'x' must be free,\\nand process 3 holds it") from error
"""


def died(raised: str) -> ActorDiedError:
    """The death of an actor whose constructor raised this, as Ray tells it."""
    traceback = TEXT.partition("creation task, ")[2] + raised
    cause = RayTaskError("__init__", traceback, ValueError(), actor_id="45ed")  # type: ignore[no-untyped-call]
    return ActorDiedError(cause)


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        ("bmodel.errors.DeviceError: card lock 'x': taken", "card lock 'x': taken"),
        ("bmodel.errors.CardTakenError: card lock 'x': taken", "card lock 'x': taken"),
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
    assert sentence_of(died(raised)) == sentence


def test_an_error_of_our_own_comes_back_as_what_it_was() -> None:
    for kind in (DeviceError, CardTakenError):
        own = own_error(died(f"bmodel.errors.{kind.__name__}: card lock 'x':\n  taken"))
        assert type(own) is kind
        assert str(own) == "card lock 'x': taken"
    assert own_error(died("ValueError: x")) is None
    assert own_error(ActorDiedError()) is None
    assert own_error(ValueError("x")) is None


def test_other_deaths_of_an_actor_are_none_of_its_constructor() -> None:
    assert raised_in_constructor("The actor died because its node has died.\nX: y") is None
    assert raised_in_constructor("The actor died because of an error raised in its creation task") is None
