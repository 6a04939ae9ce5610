"""A worker for the pool that waits where it is told to, and writes down what it did."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from cluster.cards.card_slots import CardSlot
from cluster.pool.results import ShardResult
from cluster.pool.worker_protocol import WorkerInfo
from tests.helpers.run_rows import rows_of
from tpu_worker.values import ImageRef


class PatientWorker:
    """Waits until a file holds certain words, if its table has them for the first image of a shard and the attempt."""

    def __init__(self, slot: CardSlot, waits: dict[tuple[int, int], tuple[Path, str]], diary: Path) -> None:
        self._slot = slot
        self._waits = waits
        self._diary = diary

    def describe(self) -> WorkerInfo:
        return WorkerInfo(host=self._slot.host, pid=os.getpid(), lock="", load_ms=1.0, warmup_ms=1.0)

    def process(self, images: Sequence[ImageRef], attempt: int, _sent_s: float) -> ShardResult:
        if awaited := self._waits.get((images[0].index, attempt)):
            path, words = awaited
            while not (path.exists() and words in path.read_text(encoding="utf-8")):
                time.sleep(0.02)
            time.sleep(0.5)  # for what was written to come to the driver too
        with self._diary.open("a", encoding="utf-8") as file:
            file.write(f"{images[0].index} {attempt} {self._slot.device_id}\n")
        return rows_of(images, attempt=attempt)
