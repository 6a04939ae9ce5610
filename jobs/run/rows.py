"""Reads a run back: image by image for labels and pages, column by column for mAP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.ground_truth import Scored
from jobs.run.commit import CommitLog
from tpu_worker.boxes import Detections


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRow:
    """A committed image with its detections, as label files, mAP and pages need it."""

    index: int
    image_id: str
    size_hw: tuple[int, int] | None
    ok: bool
    inference_ms: float | None
    detections: Detections


def image_rows(log: CommitLog) -> Iterator[ImageRow]:
    """Every committed image in order, with its detections."""
    for images, detections in zip(log.tables("images"), log.tables("detections"), strict=True):
        yield from _rows_of_shard(images, detections)


def _rows_of_shard(images: pa.Table, detections: pa.Table) -> Iterator[ImageRow]:
    index = detections.column("index").to_numpy()
    xyxy = np.stack([detections.column(name).to_numpy() for name in ("x1", "y1", "x2", "y2")], axis=1)
    confidence = detections.column("confidence").to_numpy()
    class_id = detections.column("class_id").to_numpy()
    columns = ("index", "image_id", "height", "width", "status", "inference_ms")
    for row in images.select(columns).to_pylist():
        start, stop = np.searchsorted(index, [row["index"], row["index"] + 1])
        yield ImageRow(
            index=row["index"],
            image_id=row["image_id"],
            size_hw=None if row["height"] is None else (row["height"], row["width"]),
            ok=row["status"] == "ok",
            inference_ms=row["inference_ms"],
            detections=Detections(
                xyxy=xyxy[start:stop], confidence=confidence[start:stop], class_id=class_id[start:stop]
            ),
        )


def scored_detections(log: CommitLog, positions: dict[str, int]) -> Scored:
    """All committed detections of the images in `positions` (image_id → position), as columns."""
    found: list[Scored] = []
    for images, detections in zip(log.tables("images"), log.tables("detections"), strict=True):
        ids = images.column("image_id").to_pylist()
        first = images.column("index")[0].as_py() if len(ids) else 0
        position_of = np.array([positions.get(image_id, -1) for image_id in ids], np.int32)
        image = position_of[detections.column("index").to_numpy() - first]
        known = image >= 0
        xyxy = np.stack([detections.column(name).to_numpy() for name in ("x1", "y1", "x2", "y2")], axis=1)
        found.append(
            Scored(
                image=image[known],
                class_id=detections.column("class_id").to_numpy()[known],
                confidence=detections.column("confidence").to_numpy()[known],
                xyxy=xyxy[known],
            )
        )
    if not found:
        return Scored.empty()
    return Scored(
        image=np.concatenate([one.image for one in found]),
        class_id=np.concatenate([one.class_id for one in found]),
        confidence=np.concatenate([one.confidence for one in found]),
        xyxy=np.concatenate([one.xyxy for one in found]),
    )
