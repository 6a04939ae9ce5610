"""CPU time of this process and all that it started, sampled from /proc while it runs: processes take theirs along."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType

EVERY_S = 0.25
TICKS = os.sysconf("SC_CLK_TCK")


class TreeCpu:
    """Samples in a thread of its own for the length of a `with` block."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample_all, daemon=True)
        self._samples: list[tuple[float, float]] = []
        self._last: dict[int, float] = {}

    def __enter__(self) -> TreeCpu:  # noqa: PYI034 - Self is not in Python 3.10
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def cores_busy(self, start_s: float, stop_s: float) -> float:
        """Mean number of cores in use between two moments, in seconds since the epoch."""
        inside = [sample for sample in self._samples if start_s <= sample[0] <= stop_s]
        if len(inside) < 2:
            raise RuntimeError(f"no two samples lie within {stop_s - start_s:.1f} s")
        (first_s, first), (last_s, last) = inside[0], inside[-1]
        return (last - first) / (last_s - first_s)

    def _sample_all(self) -> None:
        while not self._end.wait(EVERY_S):
            self._last.update(cpu_of_tree(os.getpid()))
            self._samples.append((time.time(), sum(self._last.values())))


def cpu_of_tree(root: int) -> dict[int, float]:
    """CPU seconds of a process and its living descendants, by process id."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name, in parentheses, may hold anything.
                fields = (
                    (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                )
            except OSError:
                continue  # it has ended meanwhile
            parents[int(entry.name)] = int(fields[1])
            seconds[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    return {pid: used for pid, used in seconds.items() if _descends(pid, root, parents)}


def _descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid not in (0, root):
        pid = parents.get(pid, 0)
    return pid == root
