"""SIGTERM and Ctrl-C end a run in good order: what is done gets committed, and the way to go on is said."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bmodel.errors import RunError


class Stopped(RunError):
    """The run was asked to stop."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise Stopped in the main thread on SIGTERM or SIGINT; a second signal has its default effect."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Stopped(f"stopped by {signal.Signals(number).name}")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
