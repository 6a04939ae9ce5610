"""SIGTERM and Ctrl-C end a run in good order: what is done gets committed, and the way to go on is said."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bmodel.errors import RunError

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(RunError):
    """The run was asked to stop."""


class StopRequest:
    """Whether the run was asked to stop.

    The signal's handler raises Stopped at once, except inside `deferred`: Ray's calls turn an exception out of a
    handler into something else, or lose it. There it is only noted, and `check` raises it.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._deferred = False

    def check(self) -> None:
        """Raise Stopped if the run was asked to stop."""
        if self.signal_name is not None:
            raise Stopped(f"stopped by {self.signal_name}")

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold the request back until the end of the `with` block, or until `check`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def install(self) -> None:
        """Take the signals over; again after Ray has started, since it puts its own handlers in place."""
        for number in SIGNALS:
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        # A second signal has its default effect.
        signal.signal(number, signal.SIG_DFL)
        self.signal_name = signal.Signals(number).name
        if not self._deferred:
            self.check()


@contextmanager
def stoppable() -> Iterator[StopRequest]:
    """Take SIGTERM and SIGINT over for the length of a `with` block, if this is the main thread."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    request.install()
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
