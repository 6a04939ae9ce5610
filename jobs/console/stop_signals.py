"""SIGTERM and Ctrl-C end a run in good order: what is done gets committed, and the way to go on is said."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bmodel.errors import RunError
from bmodel.signals import STOP_SIGNALS


class Stopped(RunError):
    """The run was asked to stop."""


class StopRequest:
    """Whether the run was asked to stop; the signal's handler raises Stopped at once.

    Ray's calls do not bear that, hence two exceptions: in `deferred` the request is only noted, and `check` raises
    it; in `while_ray_starts` the handler raises SystemExit, which Ray lets pass where it would swallow an error.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._raise: type[BaseException] | None = Stopped

    def check(self) -> None:
        """Raise Stopped if the run was asked to stop."""
        if self.signal_name is not None:
            raise Stopped(f"stopped by {self.signal_name}")

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold the request back until the end of the `with` block, or until `check`."""
        self._raise = None
        try:
            yield
        finally:
            self._raise = Stopped
        self.check()

    @contextmanager
    def while_ray_starts(self) -> Iterator[None]:
        """Keep hold of the signals, although Ray puts a handler of its own in place, which exits."""
        self._raise = SystemExit
        try:
            yield
        except SystemExit:
            raise Stopped(f"stopped by {self.signal_name or 'SIGTERM'}") from None
        finally:
            self._raise = Stopped
        self.check()
        self.install()

    def install(self) -> None:
        """Take the signals over, if this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                signal.signal(number, self._take)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        # A second signal has its default effect.
        signal.signal(number, signal.SIG_DFL)
        self.signal_name = signal.Signals(number).name
        if self._raise is not None:
            raise self._raise(f"stopped by {self.signal_name}")


@contextmanager
def stoppable() -> Iterator[StopRequest]:
    """Take SIGTERM and SIGINT over for the length of a `with` block."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    request = StopRequest()
    request.install()
    try:
        yield request
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)
