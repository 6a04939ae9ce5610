"""A signal must not slip in between starting a tool and being able to end it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from bmodel.signals import signals_held_back


class Told(Exception):
    """What the handler raises."""


@pytest.fixture
def handler() -> Iterator[None]:
    def tell(_number: int, _frame: FrameType | None) -> None:
        raise Told

    before = signal.signal(signal.SIGTERM, tell)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_signal_waits_for_the_blocks_end(handler: None) -> None:
    reached = []
    with pytest.raises(Told):  # noqa: PT012 - where it is raised is what is tested
        with signals_held_back():
            signal.raise_signal(signal.SIGTERM)
            reached.append("end of the block")
        reached.append("behind the block")
    assert reached == ["end of the block"]
    # The handler is in its place again.
    with pytest.raises(Told):
        signal.raise_signal(signal.SIGTERM)


def test_an_error_of_the_block_is_not_lost_for_a_signal(handler: None) -> None:
    with pytest.raises(Told) as raised, signals_held_back():  # noqa: PT012
        signal.raise_signal(signal.SIGTERM)
        raise ValueError("first")
    assert isinstance(raised.value.__context__, ValueError)


def test_other_threads_are_left_alone(handler: None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with signals_held_back():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
