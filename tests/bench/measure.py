"""Timing side by side: noise of the machine falls on both sides of a ratio, and is gone from it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from tests.bench.record import Figure, Goal

Sides = dict[str, list[float]]
Work = Callable[[], object]
Clock = Callable[[Work], float]


def wall_s(work: Work) -> float:
    """Wall time of one call, the garbage of what ran before it collected first."""
    gc.collect()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cpu_s(work: Work) -> float:
    """CPU time of all threads of this process during one call."""
    gc.collect()
    started = time.process_time()
    work()
    return time.process_time() - started


def side_by_side(
    sides: Mapping[str, Work],
    *,
    rounds: int,
    clock: Clock = wall_s,
) -> Sides:
    """Seconds of every side in every round; each runs once unmeasured, and rounds go there and back."""
    for work in sides.values():
        work()
    samples: Sides = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            samples[name].append(clock(sides[name]))
    return samples


def scaled(samples: Sides, factor: float) -> Sides:
    """The same in another unit, or for one image of many."""
    return {name: [value * factor for value in values] for name, values in samples.items()}


def ratio_figure(
    line: str,
    text: str,
    samples: Sides,
    *,
    over: str,
    under: str,
    samples_unit: str,
    unit: str = "×",
    goal: Goal | None = None,
    note: str = "",
) -> Figure:
    """The figure `over` / `under`, a value a round."""
    factor = 100.0 if unit == "%" else 1.0
    values = [factor * a / b for a, b in zip(samples[over], samples[under], strict=True)]
    return Figure(
        line=line,
        text=text,
        unit=unit,
        values=tuple(values),
        samples={name: tuple(series) for name, series in samples.items()},
        samples_unit=samples_unit,
        goal=goal,
        note=note,
    )


def tenths(samples: Sequence[tuple[float, float]], commits: Sequence[float]) -> list[float]:
    """The highest sample of each tenth of the commits, given their times in order."""
    edges = np.quantile(np.array(commits), np.linspace(0, 1, 11))
    times, values = np.array(samples).T
    found = []
    for low, high in pairwise(edges):
        inside = values[(times >= low) & (times <= high)]
        if not len(inside):
            raise RuntimeError("a tenth of the run passed without a sample of memory")
        found.append(float(inside.max()))
    return found
