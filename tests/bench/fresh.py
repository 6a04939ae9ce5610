"""Outputs as a device leaves them: written a moment ago by another thread, so in a cache but not in this core's.

The decoding thread is a busy one: it does not sleep while it waits for the next outputs.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

import numpy as np

from tests.bench.material import Heads


class FreshOutputs:
    """Writes recorded outputs into one set of arrays, in a thread of its own on another core where there is one."""

    def __init__(self, answers: Sequence[Heads]) -> None:
        self._answers = answers
        self._arrays = [np.empty_like(array) for array in answers[0]]
        self._wanted: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._written = -1
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._cores = os.sched_getaffinity(0)

    def __enter__(self) -> FreshOutputs:  # noqa: PYI034 - Self is not in Python 3.10
        self._thread.start()
        os.sched_setaffinity(0, {min(self._cores)})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wanted.put(None)
        self._thread.join()
        os.sched_setaffinity(0, self._cores)

    def cpu_s(self, use: Callable[[Heads, int], object]) -> float:
        """CPU time of this thread over `use(outputs, number)` of every answer in turn; the writing is not counted."""
        total = 0.0
        self._written = -1
        for number in range(len(self._answers)):
            self._wanted.put(number)
            while self._written != number:
                pass
            started = time.thread_time()
            use(self._arrays, number)
            total += time.thread_time() - started
        return total

    def _write_all(self) -> None:
        os.sched_setaffinity(0, {max(self._cores)})
        while (number := self._wanted.get()) is not None:
            for array, answer in zip(self._arrays, self._answers[number], strict=True):
                np.copyto(array, answer)
            self._written = number
