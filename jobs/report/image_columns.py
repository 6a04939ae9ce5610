"""The rows of a run's images as columns, read once for the whole report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.measure.latency import STAGES

MOST_FAILURES = 200
_NUMBERS = (*(f"{stage}_ms" for stage in STAGES), "started_ms", "finished_ms")
_SMALL = ("index", "status", "card", *_NUMBERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedImage:
    """A failed image as the report lists it."""

    image_id: str
    stage: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageColumns:
    """What the report draws of N images, in the order of the run's list.

    index: (N,) int64. ok: (N,) bool. card: (N,) int32 position in `cards`, -1 where the image never got to one.
    cards: names, sorted. stages: (N,) float64 ms a stage. started_ms, finished_ms: (N,) float64 since the run began;
    NaN where there is none. failed: the first MOST_FAILURES failed images of failed_count.
    """

    index: NDArray[np.int64]
    ok: NDArray[np.bool_]
    card: NDArray[np.int32]
    cards: tuple[str, ...]
    stages: dict[str, NDArray[np.float64]]
    started_ms: NDArray[np.float64]
    finished_ms: NDArray[np.float64]
    failed: tuple[FailedImage, ...] = ()
    failed_count: int = 0

    def timed(self) -> ImageColumns:
        """Only the images that got to a card and have times."""
        return self.only((self.card >= 0) & np.isfinite(self.started_ms) & np.isfinite(self.finished_ms))

    def went_through(self) -> ImageColumns:
        """Only the images with status ok: those that latency speaks of."""
        return self.only(self.ok)

    def only(self, kept: NDArray[np.bool_]) -> ImageColumns:
        """Some of the images; kept: (N,) bool."""
        return replace(
            self,
            index=self.index[kept],
            ok=self.ok[kept],
            card=self.card[kept],
            stages={stage: values[kept] for stage, values in self.stages.items()},
            started_ms=self.started_ms[kept],
            finished_ms=self.finished_ms[kept],
        )


def read_image_columns(tables: Iterable[pa.Table]) -> ImageColumns:
    """Read the tables of the images once; only failed ones, and the first of them, as rows."""
    small: list[pa.Table] = []
    failed: list[FailedImage] = []
    failed_count = 0
    for table in tables:
        small.append(table.select(_SMALL))
        bad = table.filter(pc.equal(table.column("status"), "failed"))
        failed_count += bad.num_rows
        listed = bad.slice(0, MOST_FAILURES - len(failed)).select(["image_id", "stage", "reason"])
        failed += [FailedImage(**row) for row in listed.to_pylist()]
    whole = pa.concat_tables(small or [_empty()])
    names = pc.unique(whole.column("card")).drop_null().to_pylist()
    cards = tuple(sorted(names))
    position = pc.index_in(whole.column("card"), pa.array(cards, pa.string()))
    numbers = {
        name: pc.fill_null(whole.column(name).cast(pa.float64()), np.nan).to_numpy() for name in _NUMBERS
    }
    return ImageColumns(
        index=whole.column("index").to_numpy(),
        ok=pc.equal(whole.column("status"), "ok").to_numpy(zero_copy_only=False),
        card=pc.fill_null(position, -1).to_numpy().astype(np.int32),
        cards=cards,
        stages={stage: numbers[f"{stage}_ms"] for stage in STAGES},
        started_ms=numbers["started_ms"],
        finished_ms=numbers["finished_ms"],
        failed=tuple(failed),
        failed_count=failed_count,
    )


def _empty() -> pa.Table:
    kinds = {"index": pa.int64(), "status": pa.string(), "card": pa.string()}
    return pa.table({name: pa.array([], kinds.get(name, pa.float64())) for name in _SMALL})
