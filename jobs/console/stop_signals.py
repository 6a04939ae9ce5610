"""SIGTERM and Ctrl-C end a run in good order: finished work is committed, and the user learns how to resume.

Python runs a signal's handler in the main thread, between two of its own instructions. While that thread waits in a
library for a process or a disk that does not answer, no handler runs. So each signal also wakes a guard thread, which
ends the program if the main thread has not done so in time.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from bmodel.errors import RunError
from bmodel.signals import STOP_SIGNALS

# Within which a command that was asked to stop has ended, whatever hangs.
STOP_LIMIT_S = 10.0
# After which the user reads that nothing moves.
STALL_NOTICE_S = 30.0


class Stopped(RunError):
    """The run was asked to stop."""


class StopRequest:
    """Whether the run was asked to stop; the signal's handler raises Stopped at once.

    Ray's calls do not survive that, hence two exceptions: in `deferred` the request is only noted, and `check` raises
    it; in `while_ray_starts` the handler raises SystemExit, which Ray lets through where it would swallow an error.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._raise: type[BaseException] | None = Stopped
        self._checked_s = time.monotonic()

    def check(self) -> None:
        """Raise Stopped if the run was asked to stop."""
        self._checked_s = time.monotonic()
        if self.signal_name is not None:
            raise Stopped(f"stopped by {self.signal_name}")

    @contextmanager
    def deferred(self, *, tell: Callable[[str], None] | None = None) -> Iterator[None]:
        """Defer the request to the end of the `with` block, or to `check`.

        tell: gets a sentence, from another thread, once `check` has not been called for STALL_NOTICE_S.
        """
        self._raise = None
        self._checked_s = time.monotonic()
        ended = threading.Event()
        if tell is not None:
            threading.Thread(
                target=self._notice_stalls, args=(tell, ended), daemon=True, name="stalls"
            ).start()
        try:
            yield
        finally:
            ended.set()
            self._raise = Stopped
        self.check()

    def _notice_stalls(self, tell: Callable[[str], None], ended: threading.Event) -> None:
        notified = False
        while not ended.wait(1.0):
            quiet_s = time.monotonic() - self._checked_s
            if quiet_s < STALL_NOTICE_S:
                notified = False
            elif not notified:
                notified = True
                tell(
                    f"nothing has moved for {quiet_s:.0f} s: Ray or the output folder does not answer; "
                    "still waiting (Ctrl-C or SIGTERM stops)"
                )

    @contextmanager
    def while_ray_starts(self) -> Iterator[None]:
        """Keep control of the signals although Ray installs its own handler, which exits."""
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
        """Take over the signals, if this is the main thread."""
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
def stoppable(*, limit_s: float = STOP_LIMIT_S) -> Iterator[StopRequest]:
    """Take over SIGTERM and SIGINT for the length of a `with` block.

    limit_s: seconds that the block may take to end after a signal; then the program exits, with a line and code 1.
    A second signal ends it at once.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    request.install()
    try:
        with _ended_in_time(limit_s):
            yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def _ended_in_time(limit_s: float) -> Iterator[None]:
    """End the program if the `with` block has not ended `limit_s` after a signal."""
    signalled, wake_up = os.pipe()
    os.set_blocking(wake_up, False)
    before = signal.set_wakeup_fd(wake_up, warn_on_full_buffer=False)
    guard = threading.Thread(target=_guard, args=(signalled, limit_s), daemon=True, name="stop")
    guard.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(wake_up)
        guard.join()
        os.close(signalled)


def _guard(signalled: int, limit_s: float) -> None:
    """Read the numbers of the signals that come, until the pipe is closed; see `_ended_in_time`."""
    first, deadline_s = "", 0.0
    while True:
        left_s = max(0.0, deadline_s - time.monotonic()) if first else None
        ready, _, _ = select.select([signalled], [], [], left_s)
        came = os.read(signalled, 64) if ready else b""
        if ready and not came:
            return
        numbers = [number for number in came if number in STOP_SIGNALS]
        if not ready or (numbers and first):
            _end(first)
        if numbers:
            first, deadline_s = signal.Signals(numbers[0]).name, time.monotonic() + limit_s


def _end(signal_name: str) -> None:
    """End the program without its clean-up, which is what hangs; what is committed stands."""
    os.write(
        sys.__stderr__.fileno() if sys.__stderr__ else 2,
        f"raysail: stopped by {signal_name}, without waiting for what did not answer\n".encode(),
    )
    os._exit(1)
