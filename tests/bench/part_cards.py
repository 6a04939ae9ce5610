"""1 to 64 virtual cards on one host: linear up to where its cores are full."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from pathlib import Path

from tests.bench.findings import Findings
from tests.bench.material import Material
from tests.bench.part_card import timed_job
from tests.bench.ray_jobs import ray_session
from tests.bench.record import Figure, Goal, Table
from tests.bench.tree_cpu import TreeCpu

CARDS = (1, 2, 4, 8, 16, 32, 64)
SERVICE_MS = 100.0
SECONDS = 24.0
WINDOWS = 5  # of one run: to start 64 actors takes as long as they then work
FULL = 0.9  # of the cores, from which on they count as full
GOAL = 95.0
MEMORY_GB = 0.25  # an actor with all its arrays


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """windows: images/s in equal parts of the steady span."""

    cards: int
    windows: tuple[float, ...]
    cores_busy: float

    @property
    def images_per_s(self) -> float:
        return statistics.fmean(self.windows)

    @property
    def linear(self) -> float:
        """Percent of what as many cards would do if nothing else limited them."""
        return self.linear_of(self.images_per_s)

    def linear_of(self, images_per_s: float) -> float:
        return images_per_s * SERVICE_MS / 1e3 / self.cards * 100

    @property
    def is_full(self) -> bool:
        return self.cores_busy > FULL * len(os.sched_getaffinity(0))


def measure(material: Material) -> Findings:
    fits = [cards for cards in CARDS if cards * MEMORY_GB < _memory_available_gb()]
    points = [_point(material, cards) for cards in fits]
    free = [point for point in points if not point.is_full]
    figures = tuple(
        Figure(
            line="7",
            text=f"{point.cards} cards at {SERVICE_MS:.0f} ms: throughput over linear",
            unit="%",
            values=tuple(point.linear_of(speed) for speed in point.windows),
            samples={"images/s": point.windows, "cores busy": (point.cores_busy,)},
            goal=None if point.is_full else Goal(at_least=GOAL),
            note=f"{WINDOWS} windows of one run" + ("; the cores are full" if point.is_full else ""),
        )
        for point in points
    )
    full_from = next((str(point.cards) for point in points if point.is_full), f"more than {fits[-1]}")
    each = [point.cores_busy / point.images_per_s * 1e3 for point in free[-1:]]
    ends = (
        f"; at {each[0]:.1f} ms of CPU an image they are at {len(os.sched_getaffinity(0)) * 1e3 / each[0]:.0f} images/s"
        if each
        else ""
    )
    table = Table(
        title="Cards on one host",
        head=("cards", "images/s", "of linear, %", "cores busy"),
        rows=tuple(
            (str(point.cards), point.images_per_s, point.linear, point.cores_busy) for point in points
        ),
        note=f"the cores are full from {full_from} cards on{ends}"
        + ("" if len(fits) == len(CARDS) else f"; memory allowed {fits[-1]} cards at most"),
    )
    return Findings(title="1 to 64 cards", figures=figures, tables=(table,))


def _point(material: Material, cards: int) -> Point:
    with ray_session(cards), TreeCpu() as cpu:
        run = timed_job(material, cards, SERVICE_MS, seconds=SECONDS)
    begins, ends = run.steady_span_s(cards)
    return Point(
        cards=cards,
        windows=run.steady_windows(cards, WINDOWS),
        cores_busy=cpu.cores_busy(begins, ends),
    )


def _memory_available_gb() -> float:
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 2**20
    return 0.0
