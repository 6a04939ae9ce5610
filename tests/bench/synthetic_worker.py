"""Actors that read no image and run no network: what is left is the driver's work."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from cluster.cards.card_slots import CardSlot
from cluster.pool.results import ShardResult, shard_result
from cluster.pool.worker import WorkerSettings
from cluster.pool.worker_protocol import WorkerInfo
from tpu_worker.boxes import Detections
from tpu_worker.values import ImageRef, ImageResult, StageTimes

DETECTIONS = 10
SIZE_HW = (480, 640)


class SyntheticWorker:
    """Ten boxes for every image, thrown with dice once a shard size and sent again under the images' names.

    An actor's usual tables, made once: to make them anew would take a core that on a real cluster is another host's.
    """

    def __init__(self, slot: CardSlot, settings: WorkerSettings) -> None:
        self._card = f"{slot.host}/{slot.device_id}"
        self._names = settings.device.spec.class_names
        self._made: dict[int, ShardResult] = {}

    def describe(self) -> WorkerInfo:
        return WorkerInfo(host=socket.gethostname(), pid=os.getpid(), lock="", load_ms=0.0, warmup_ms=1.0)

    def process(self, images: Sequence[ImageRef], attempt: int, _sent_s: float) -> ShardResult:
        made = self._made.get(len(images)) or self._make(images, attempt)
        self._made[len(images)] = made
        return renamed(made, images)

    def _make(self, images: Sequence[ImageRef], attempt: int) -> ShardResult:
        return shard_result(
            [found(image, len(self._names)) for image in images],
            class_names=self._names,
            batch_size=1,
            run_began_s=0.0,
            card=self._card,
            attempt=attempt,
        )


def found(image: ImageRef, classes: int) -> ImageResult:
    """Boxes of an image that nobody looked at."""
    dice = np.random.default_rng(image.index)
    corner = dice.uniform(0, 400, (DETECTIONS, 2))
    return ImageResult(
        image=image,
        size_hw=SIZE_HW,
        detections=Detections(
            xyxy=np.concatenate([corner, corner + dice.uniform(5, 80, (DETECTIONS, 2))], 1).astype(
                np.float32
            ),
            confidence=np.sort(dice.uniform(0.1, 1, DETECTIONS))[::-1].astype(np.float32),
            class_id=dice.integers(0, classes, DETECTIONS).astype(np.int32),
        ),
        failure=None,
        times=StageTimes(read_ms=1.9, preprocess_ms=0.9, inference_ms=20.0, postprocess_ms=0.5),
        started_s=image.index * 0.02,
        finished_s=image.index * 0.02 + 0.03,
    )


def renamed(made: ShardResult, images: Sequence[ImageRef]) -> ShardResult:
    """The same rows for other images, as many as the rows were made for."""
    index = np.array([image.index for image in images], np.int64)
    ids = pa.array([image.image_id for image in images], pa.string())
    position = made.detections.column("index").to_numpy() - made.images.column("index")[0].as_py()
    return ShardResult(
        images=_with(made.images, index=pa.array(index), image_id=ids),
        detections=_with(
            made.detections, index=pa.array(index[position]), image_id=ids.take(pa.array(position))
        ),
    )


def _with(table: pa.Table, **columns: pa.Array) -> pa.Table:
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), values)
    return table
