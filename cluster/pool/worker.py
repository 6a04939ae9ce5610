"""The actor's body: one card, one loaded network, shards in, tables out. A plain class that Ray wraps at run time."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import ray

from bmodel.errors import DeviceError
from cluster.cards.card_lock import CardLock, real_card_lock_path, virtual_card_lock_path
from cluster.cards.card_slots import CardSlot
from cluster.cards.card_users import DEVICES, CardUser, open_card
from cluster.pool.live_metrics import WorkerMetrics
from cluster.pool.results import ShardResult, shard_result
from cluster.pool.run_clock import RunClock
from cluster.pool.worker_protocol import WorkerInfo
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices import CARD_DEVICES, DeviceOptions, open_device, open_preprocessor, runs_on_simulator
from tpu_worker.values import ImageRef


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """All that a worker is built from, so that a new one on the same card is the same worker."""

    device: DeviceOptions
    detect: DetectOptions


class CardWorker:
    """Holds a card from construction to the end of its process.

    device_folder: where the host's device files are.
    """

    def __init__(self, slot: CardSlot, settings: WorkerSettings, *, device_folder: Path = DEVICES) -> None:
        """Lock the card, note who else has it open, load the network and run it once; raises DeviceError."""
        started = time.monotonic()
        self._settings = settings
        self._lock = CardLock(_lock_path(slot, settings.device.name))
        options = replace(settings.device, device_id=slot.device_id)
        users = _users(options, device_folder)
        with _naming_users(users):
            device = open_device(options)
            loaded = time.monotonic()
            device.run(np.zeros(device.spec.input.shape, np.float32))
            warm = time.monotonic()
        self._spec = device.spec
        self._clock = RunClock()
        self._detector = Detector(device, settings.detect, open_preprocessor(options))
        self._card = f"{slot.host}/{slot.device_id}"
        self._metrics = WorkerMetrics(self._card)
        still_there = {user.pid for user in _users(options, device_folder)}
        self._info = WorkerInfo(
            host=socket.gethostname(),
            pid=os.getpid(),
            lock=str(self._lock.path),
            load_ms=(loaded - started) * 1000,
            warmup_ms=(warm - loaded) * 1000,
            batch=self._spec.batch,
            # A process that only queried the card is gone by now.
            other_users=tuple(str(user) for user in users if user.pid in still_there),
            on_simulator=options.name in CARD_DEVICES and runs_on_simulator(),
        )

    def describe(self) -> WorkerInfo:
        """Who this worker is and how long it took to start."""
        return self._info

    def process(self, images: Sequence[ImageRef], attempt: int, sent_s: float) -> ShardResult:
        """Detect on a shard's images; two calls may overlap, the card works through them in order."""
        run_began_s = self._clock.received(sent_s)
        try:
            results = self._detector.detect(images)
        except Exception:
            self._metrics.refused()
            raise
        result = shard_result(
            results,
            class_names=self._spec.class_names,
            batch_size=self._spec.batch,
            run_began_s=run_began_s,
            card=self._card,
            attempt=attempt,
        )
        self._metrics.count(result)
        return result


def _users(options: DeviceOptions, device_folder: Path) -> list[CardUser]:
    """The other processes that have a real card open: its driver allows that, and they know nothing of Raysail's lock."""
    if options.name not in CARD_DEVICES:
        return []
    return open_card(options.device_id, device_folder=device_folder)


@contextmanager
def _naming_users(users: Sequence[CardUser]) -> Iterator[None]:
    """Add to a device's refusal who else uses the card: that may be why."""
    try:
        yield
    except DeviceError as error:
        if not users:
            raise
        raise DeviceError(f"{error}; the card is also used by {', '.join(map(str, users))}") from error


def _lock_path(slot: CardSlot, device_name: str) -> Path:
    if device_name in CARD_DEVICES:
        return real_card_lock_path(slot.device_id)
    context = ray.get_runtime_context()
    session_dir = Path(context.get_temp_dir()) / context.get_session_name()
    job_id = None if slot.registered else context.get_job_id()
    return virtual_card_lock_path(session_dir, slot.node_id, slot.device_id, job_id=job_id)
