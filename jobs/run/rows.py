"""Reads a run's detections back, part by part; each file is opened once, whatever takes its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.run.commit import CommitLog
from jobs.run.image_columns import RunImages
from tpu_worker.boxes import Detections


@dataclass(frozen=True, kw_only=True, slots=True)
class PartRows:
    """The detections of one part, D of them, with the images they are of.

    images: of the whole run. start, stop: the part's images are those from position `start` to before `stop`.
    position: (D,) int64, each detection's image, ascending. class_id: (D,) int32. confidence: (D,) float32.
    xyxy: (D, 4) float32 source pixels.
    """

    images: RunImages
    start: int
    stop: int
    position: NDArray[np.int64]
    class_id: NDArray[np.int32]
    confidence: NDArray[np.float32]
    xyxy: NDArray[np.float32]

    def by_image(self) -> Iterator[Detections]:
        """The detections of each of the part's images, best first."""
        borders = np.searchsorted(self.position, np.arange(self.start, self.stop + 1)).tolist()
        for first, last in pairwise(borders):
            yield Detections(
                xyxy=self.xyxy[first:last],
                confidence=self.confidence[first:last],
                class_id=self.class_id[first:last],
            )


class TakesRows(Protocol):
    """Whatever is derived from detections while they are read."""

    def add(self, part: PartRows) -> None:
        """Take the next part, in the order of the images."""


def read_detections(log: CommitLog, images: RunImages, takers: Sequence[TakesRows]) -> None:
    """Give every committed detection to each of the takers; without any, no file is opened.

    images: what `read_images` made of the same commits. Raises RunError for a part that is missing or damaged.
    """
    if not takers:
        return
    start = 0
    for commit, table in zip(log.commits, log.tables("detections"), strict=True):
        stop = start + len(commit.shard)
        part = _rows(table, images, start, stop, first_index=commit.shard.start)
        for taker in takers:
            taker.add(part)
        start = stop


def _rows(table: pa.Table, images: RunImages, start: int, stop: int, *, first_index: int) -> PartRows:
    sides = [table.column(name).to_numpy() for name in ("x1", "y1", "x2", "y2")]
    return PartRows(
        images=images,
        start=start,
        stop=stop,
        position=table.column("index").to_numpy() - first_index + start,
        class_id=table.column("class_id").to_numpy(),
        confidence=table.column("confidence").to_numpy(),
        xyxy=np.stack(sides, axis=1),
    )
