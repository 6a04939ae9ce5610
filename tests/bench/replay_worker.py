"""The job's actor with recorded heads in the place of the network's."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from cluster.cards.card_slots import CardSlot
from cluster.pool.results import ShardResult, shard_result
from cluster.pool.run_clock import RunClock
from cluster.pool.worker import WorkerSettings
from cluster.pool.worker_protocol import WorkerInfo
from tests.bench.busiest import PUBLISHED_CANDIDATES, busiest, candidates
from tests.bench.material import Recorded, find_material, recorded_heads
from tests.bench.replay import ReplayDevice
from tpu_worker.detector import Detector
from tpu_worker.values import ImageRef

ANSWERS = 24  # 200 MB of heads: no cache holds them all


class ReplayWorker:
    """A card that takes the timed device's service time and answers with real heads, thousands of candidates each."""

    def __init__(self, slot: CardSlot, settings: WorkerSettings) -> None:
        recorded = self.recorded()
        device = ReplayDevice(recorded.spec, recorded.heads, service_ms=settings.device.timed.service_ms)
        self._spec = recorded.spec
        self._settings = settings
        self._clock = RunClock()
        self._card = f"{slot.host}/{slot.device_id}"
        self._detector = Detector(device, settings.detect)

    @staticmethod
    def recorded() -> Recorded:
        """What the device answers."""
        return recorded_heads(find_material(), ANSWERS)

    def describe(self) -> WorkerInfo:
        return WorkerInfo(
            host=socket.gethostname(),
            pid=os.getpid(),
            lock="",
            load_ms=0.0,
            warmup_ms=self._settings.device.timed.service_ms,
        )

    def process(self, images: Sequence[ImageRef], attempt: int, sent_s: float) -> ShardResult:
        run_began_s = self._clock.received(sent_s)
        return shard_result(
            self._detector.detect(images),
            class_names=self._spec.class_names,
            batch_size=self._spec.batch,
            run_began_s=run_began_s,
            card=self._card,
            attempt=attempt,
        )


class BusyReplayWorker(ReplayWorker):
    """The same with the answers to the busiest photographs."""

    @staticmethod
    def recorded() -> Recorded:
        everything = recorded_heads(find_material())
        return everything.only(busiest(candidates(everything), PUBLISHED_CANDIDATES))
