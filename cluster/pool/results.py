"""What a worker sends back: two compact Arrow tables per shard, never pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tpu_worker.values import ImageRef, ImageResult, Stage

IMAGES_SCHEMA = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("stage", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detections", pa.int32(), nullable=False),
        pa.field("read_ms", pa.float32()),
        pa.field("preprocess_ms", pa.float32()),
        pa.field("inference_ms", pa.float32()),
        pa.field("postprocess_ms", pa.float32()),
        pa.field("started_ms", pa.float64()),
        pa.field("finished_ms", pa.float64()),
        pa.field("batch", pa.int32()),
        pa.field("card", pa.string()),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("prepared_on", pa.string()),
    ]
)

DETECTIONS_SCHEMA = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("class_id", pa.int32(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("x1", pa.float32(), nullable=False),
        pa.field("y1", pa.float32(), nullable=False),
        pa.field("x2", pa.float32(), nullable=False),
        pa.field("y2", pa.float32(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardResult:
    """The rows of one shard, in the order of its images.

    images: IMAGES_SCHEMA, one row per image. detections: DETECTIONS_SCHEMA, an image's best first.
    """

    images: pa.Table
    detections: pa.Table

    def __post_init__(self) -> None:
        if self.images.schema != IMAGES_SCHEMA:
            raise ValueError(f"images must have the images schema, got {self.images.schema}")
        if self.detections.schema != DETECTIONS_SCHEMA:
            raise ValueError(f"detections must have the detections schema, got {self.detections.schema}")

    @property
    def failed_count(self) -> int:
        """Images without detections because something failed."""
        return int(self.images.num_rows) - int(self.images.column("stage").null_count)


def shard_result(
    results: Sequence[ImageResult],
    *,
    class_names: Sequence[str],
    batch_size: int,
    run_began_s: float,
    card: str,
    attempt: int,
) -> ShardResult:
    """The tables of a shard's results; times become ms since the run began.

    run_began_s: when that was, on the clock of the results' times.
    """
    columns = {
        "index": [result.image.index for result in results],
        "image_id": [result.image.image_id for result in results],
        "width": [result.size_hw[1] if result.size_hw else None for result in results],
        "height": [result.size_hw[0] if result.size_hw else None for result in results],
        "status": ["failed" if result.failure else "ok" for result in results],
        "stage": [result.failure.stage if result.failure else None for result in results],
        "reason": [result.failure.reason if result.failure else None for result in results],
        "detections": [len(result.detections) if result.detections else 0 for result in results],
        "read_ms": [result.times.read_ms for result in results],
        "preprocess_ms": [result.times.preprocess_ms for result in results],
        "inference_ms": [result.times.inference_ms for result in results],
        "postprocess_ms": [result.times.postprocess_ms for result in results],
        "started_ms": [(result.started_s - run_began_s) * 1000 for result in results],
        "finished_ms": [(result.finished_s - run_began_s) * 1000 for result in results],
        "batch": [position // batch_size for position in range(len(results))],
        "card": [card] * len(results),
        "attempt": [attempt] * len(results),
        # What could not be read was prepared nowhere.
        "prepared_on": [result.prepared_on if result.size_hw else None for result in results],
    }
    return ShardResult(
        images=pa.table(columns, schema=IMAGES_SCHEMA), detections=_detections_table(results, class_names)
    )


def _detections_table(results: Sequence[ImageResult], class_names: Sequence[str]) -> pa.Table:
    counts = [len(result.detections) if result.detections else 0 for result in results]
    found = [result.detections for result in results if result.detections]
    xyxy = np.concatenate([one.xyxy for one in found]) if found else np.zeros((0, 4), np.float32)
    class_id = np.concatenate([one.class_id for one in found]) if found else np.zeros(0, np.int32)
    confidence = np.concatenate([one.confidence for one in found]) if found else np.zeros(0, np.float32)
    position = np.repeat(np.arange(len(results), dtype=np.int32), counts)
    index = np.repeat(np.array([result.image.index for result in results], np.int64), counts)
    image_ids = pa.array([result.image.image_id for result in results], pa.string())
    return pa.Table.from_arrays(
        [
            pa.array(index),
            image_ids.take(pa.array(position)),
            pa.array(class_id),
            pa.array(class_names, pa.string()).take(pa.array(class_id)),
            pa.array(confidence),
            *(pa.array(np.ascontiguousarray(xyxy[:, side])) for side in range(4)),
        ],
        schema=DETECTIONS_SCHEMA,
    )


def lost_image_result(image: ImageRef, *, reason: str, stage: Stage, attempt: int) -> ShardResult:
    """The row of an image that no card could carry through."""
    row: dict[str, list[object]] = {name: [None] for name in IMAGES_SCHEMA.names}
    row |= {
        "index": [image.index],
        "image_id": [image.image_id],
        "status": ["failed"],
        "stage": [stage],
        "reason": [reason],
        "detections": [0],
        "attempt": [attempt],
    }
    return ShardResult(images=pa.table(row, schema=IMAGES_SCHEMA), detections=DETECTIONS_SCHEMA.empty_table())
