"""The rows of a run's images as columns: every table of the images is opened once, whatever is derived from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tpu_worker.values import STAGES

MOST_FAILURES = 200
_NUMBERS = (*(f"{stage}_ms" for stage in STAGES), "started_ms", "finished_ms")
_SMALL = ("index", "status", "card", *_NUMBERS)
_IDENTITY = ("image_id", "height", "width")
_KINDS = {
    **{name: pa.string() for name in ("status", "card", "image_id")},
    "index": pa.int64(),
    "height": pa.int32(),
    "width": pa.int32(),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedImage:
    """A failed image as the report lists it."""

    image_id: str
    stage: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageColumns:
    """What figures and the report need of N images, in the order of the run's list.

    index: (N,) int64. ok: (N,) bool. card: (N,) int32 position in `cards`, -1 where the image never got to one.
    cards: names, sorted. stages: (N,) float64 ms per stage. started_ms, finished_ms: (N,) float64 since the run began;
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


@dataclass(frozen=True, kw_only=True, slots=True)
class RunImages:
    """Everything that a run's tables of images say.

    columns: of the N images. image_id, height, width: Arrow columns of N; sizes in source pixels, null where the image
    could not be read. failures: failed images by stage, in the order of the stages. prepared: images by where they were
    prepared, host or card.
    """

    columns: ImageColumns
    image_id: pa.ChunkedArray
    height: pa.ChunkedArray
    width: pa.ChunkedArray
    failures: Mapping[str, int]
    prepared: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.columns.index)

    def image_ids(self) -> list[str]:
        """The N ids, in the order of the run's list."""
        ids: list[str] = self.image_id.to_pylist()
        return ids

    def sizes_hw(self, start: int = 0, stop: int | None = None) -> list[tuple[int, int] | None]:
        """Height and width of some of the images; None where the image could not be read."""
        count = (len(self) if stop is None else stop) - start
        pairs = zip(
            *(side.slice(start, count).to_pylist() for side in (self.height, self.width)), strict=True
        )
        return [None if height is None else (height, width) for height, width in pairs]

    def per_card(self) -> dict[str, int]:
        """Images that each card worked on, failed ones included."""
        columns = self.columns
        counts = np.bincount(columns.card[columns.card >= 0], minlength=len(columns.cards)).tolist()
        return dict(zip(columns.cards, counts, strict=True))


def read_images(tables: Iterable[pa.Table]) -> RunImages:
    """Take the tables of the images one after another; only failed ones, and the first of them, become rows."""
    gathered = _Gathered()
    for table in tables:
        gathered.add(table)
    whole = pa.concat_tables(gathered.tables or [_empty()])
    stages = sorted(
        gathered.failures, key=lambda stage: STAGES.index(stage) if stage in STAGES else len(STAGES)
    )
    return RunImages(
        columns=_columns(whole, gathered),
        image_id=whole.column("image_id"),
        height=whole.column("height"),
        width=whole.column("width"),
        failures={stage: gathered.failures[stage] for stage in stages},
        prepared=dict(gathered.prepared),
    )


@dataclass(slots=True)
class _Gathered:
    """What is kept of the tables seen so far."""

    tables: list[pa.Table] = field(default_factory=list)
    failed: list[FailedImage] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    prepared: Counter[str] = field(default_factory=Counter)

    def add(self, table: pa.Table) -> None:
        self.tables.append(table.select((*_SMALL, *_IDENTITY)))
        bad = table.filter(pc.equal(table.column("status"), "failed"))
        self.failures.update(_counts(bad.column("stage")))
        self.prepared.update(_counts(table.column("prepared_on")))
        listed = bad.slice(0, MOST_FAILURES - len(self.failed)).select(["image_id", "stage", "reason"])
        self.failed += [FailedImage(**row) for row in listed.to_pylist()]


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    pairs: list[dict[str, Any]] = pc.value_counts(column.drop_null()).to_pylist()
    return {pair["values"]: pair["counts"] for pair in pairs}


def _columns(whole: pa.Table, gathered: _Gathered) -> ImageColumns:
    cards = tuple(sorted(pc.unique(whole.column("card")).drop_null().to_pylist()))
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
        failed=tuple(gathered.failed),
        failed_count=sum(gathered.failures.values()),
    )


def _empty() -> pa.Table:
    return pa.table({name: pa.array([], _KINDS.get(name, pa.float64())) for name in (*_SMALL, *_IDENTITY)})
