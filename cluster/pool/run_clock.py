"""A worker's times → ms since the run began, whatever its host's clock says.

    driver   ──sent_s, seconds since the run began──▶   worker: arrived_s on its monotonic clock

A message cannot arrive before it was sent, so that on the worker's clock the run began at arrived_s - sent_s or
earlier. The earliest of all these is too late by the way of the fastest message alone: milliseconds. No wall clock is
read, neither the driver's nor the host's: they may be hours apart, or stepped while the run lasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class RunClock:
    """Finds out when the run began on this process's monotonic clock. clock: that clock, seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_s: float | None = None

    def received(self, sent_s: float) -> float:
        """Take a message of the driver into account; returns when the run began, as far as is known by now."""
        began_s = self._clock() - sent_s
        self._began_s = began_s if self._began_s is None else min(self._began_s, began_s)
        return self._began_s
