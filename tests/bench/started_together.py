"""Actors that wait for one another before their first shard, so that a run has a steady state from the start."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from cluster.cards.card_slots import CardSlot
from cluster.pool.results import ShardResult
from cluster.pool.worker import CardWorker, WorkerSettings
from tests.bench.material import BUILD
from tpu_worker.values import ImageRef

GATE = BUILD / "gate"
PATIENCE_S = 240.0


class TogetherWorker(CardWorker):
    """The job's own actor behind a gate that opens when all of them are ready."""

    def __init__(self, slot: CardSlot, settings: WorkerSettings) -> None:
        super().__init__(slot, settings)
        self._is_open = False
        (GATE / f"{slot.device_id}").touch()

    def process(self, images: Sequence[ImageRef], attempt: int, sent_s: float) -> ShardResult:
        self._clock.received(sent_s)  # before the wait, which is no part of the message's way
        if not self._is_open:
            wait_for_all(GATE)
            self._is_open = True
        return super().process(images, attempt, sent_s)


def set_gate(cards: int) -> None:
    """Close the gate for a new run of so many cards."""
    GATE.mkdir(parents=True, exist_ok=True)
    for file in GATE.iterdir():
        file.unlink()
    (GATE / "wanted").write_text(str(cards), encoding="utf-8")


def wait_for_all(gate: Path) -> None:
    wanted = int((gate / "wanted").read_text(encoding="utf-8"))
    until = time.monotonic() + PATIENCE_S
    while len(list(gate.iterdir())) <= wanted:  # the file that says how many lies there too
        if time.monotonic() > until:
            raise TimeoutError(f"not all of {wanted} workers started within {PATIENCE_S:.0f} s")
        time.sleep(0.1)
