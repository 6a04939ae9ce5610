"""A worker for the pool that takes a set time for each shard, and writes down what it did."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.cards import CardSlot
from cluster.results import ShardResult
from tests.run_rows import rows_of
from tpu_worker.values import ImageRef


@dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """What the pool asks of a worker that is ready."""

    pid: int
    warmup_ms: float = 1.0


class PacedWorker:
    """Sleeps as long as its table says for the first image of a shard and the attempt, else not at all."""

    def __init__(self, slot: CardSlot, seconds: dict[tuple[int, int], float], diary: Path) -> None:
        self._slot = slot
        self._seconds = seconds
        self._diary = diary

    def describe(self) -> Info:
        return Info(pid=os.getpid())

    def process(self, images: Sequence[ImageRef], attempt: int) -> ShardResult:
        time.sleep(self._seconds.get((images[0].index, attempt), 0.0))
        with self._diary.open("a", encoding="utf-8") as file:
            file.write(f"{images[0].index} {attempt} {self._slot.device_id}\n")
        return rows_of(images, attempt=attempt)
