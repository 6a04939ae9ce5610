"""The points of a sweep, what is known of each, and their order: score, rank, and the Pareto front."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Literal

from bmodel.sidecar import Precision
from bmodel.validation import ExactModel
from jobs.config.choices import PreprocessName, ScoreProtocol
from jobs.measure.latency import ITimeSource
from jobs.measure.score import competition_score
from jobs.study.sweep_file import PublishedPoint, Sweep, size_label

Status = Literal["run", "ready", "predicted", "missing", "failed"]


class Point(ExactModel):
    """One combination. size_hw: as it is called. input_hw: as the network has it. file: its BModel."""

    model: str
    size_hw: tuple[int, int]
    input_hw: tuple[int, int]
    precision: Precision
    batch: int
    preprocess: PreprocessName
    file: Path

    @property
    def name(self) -> str:
        """Its name as a folder."""
        return f"{self.model}-{size_label(self.size_hw)}-{self.precision}-{self.batch}b-{self.preprocess}"


def points_of(sweep: Sweep) -> list[Point]:
    """Every combination, in the order of the file; one that is named twice counts once."""
    found = {
        point.name: point
        for model, network in sweep.models.items()
        for size_hw, precision, batch, preprocess in product(
            network.sizes, sweep.precision, sweep.batch, sweep.preprocess
        )
        for point in [_point(sweep, model, size_hw, precision, batch, preprocess)]
    }
    return list(found.values())


def _point(
    sweep: Sweep,
    model: str,
    size_hw: tuple[int, int],
    precision: Precision,
    batch: int,
    preprocess: PreprocessName,
) -> Point:
    input_hw = sweep.models[model].input_hw(size_hw)
    parts = {
        "model": model,
        "height": input_hw[0],
        "width": input_hw[1],
        "size": size_label(input_hw),
        "precision": precision,
        "batch": batch,
    }
    file = re.sub(r"\{(.*?)\}", lambda name: str(parts[name[1]]), sweep.network_file)
    return Point(
        model=model,
        size_hw=size_hw,
        input_hw=input_hw,
        precision=precision,
        batch=batch,
        preprocess=preprocess,
        file=Path(file),
    )


class Figures(ExactModel):
    """What a run found. map50: by the protocol of the score. run: its folder."""

    map50: float | None
    map_protocol: ScoreProtocol
    i_time_ms: float | None
    i_time_source: ITimeSource
    score: float | None
    device: str
    images: int
    failed: int
    run: str


class Predicted(ExactModel):
    """What the compiler's schedule says, corrected, ms per image; one standard deviation."""

    ms: float
    uncertainty_ms: float


class PublishedFigures(ExactModel):
    """What was published. score_computed: from its mAP and i_time by the score's formula."""

    map50: float | None
    i_time_ms: float | None
    score: float | None
    score_computed: float | None
    note: str


class Row(Point):
    """A point with what is known of it.

    reason: why it did not run, or what is wrong with its run. figures: null unless it ran. rank: by its score among
    the points that ran. pareto: no other point that ran is both as accurate and as fast, and better in one.
    outlook_score: of the published mAP and the predicted time, before anybody has weights or a card; outlook_rank.
    """

    status: Status
    reason: str = ""
    figures: Figures | None = None
    rank: int | None = None
    pareto: bool = False
    predicted: Predicted | None = None
    published: PublishedFigures | None = None
    outlook_score: float | None = None
    outlook_rank: int | None = None

    @property
    def label(self) -> str:
        """Its name for people."""
        size = size_label(self.size_hw)
        return f"{self.model} {size} {self.precision} b{self.batch} {self.preprocess}"


def make_row(
    point: Point,
    sweep: Sweep,
    *,
    status: Status,
    reason: str = "",
    figures: Figures | None = None,
    predicted: Predicted | None = None,
) -> Row:
    """Put what was published to what is known of a point; ranks come later."""
    published = next((one for one in sweep.published if _is_of(one, point)), None)
    map50 = published.map50 if published else None
    return Row(
        **dict(point),
        status=status,
        reason=reason,
        figures=figures,
        predicted=predicted,
        published=None if published is None else _published(published),
        # The chip's time does not depend on where images are prepared, but what was published of it does.
        outlook_score=_score(map50, predicted.ms if predicted else None),
    )


def _is_of(one: PublishedPoint, point: Point) -> bool:
    names = ("model", "precision", "batch", "preprocess")
    return one.size == point.size_hw and all(getattr(one, name) == getattr(point, name) for name in names)


def _published(one: PublishedPoint) -> PublishedFigures:
    return PublishedFigures(
        map50=one.map50,
        i_time_ms=one.i_time_ms,
        score=one.score,
        score_computed=_score(one.map50, one.i_time_ms),
        note=one.note,
    )


def _score(map50: float | None, i_time_ms: float | None) -> float | None:
    return None if map50 is None or i_time_ms is None else competition_score(map50, i_time_ms)


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The rows in their order, with their ranks and the Pareto front; equal scores share a rank."""
    scores = _ranks(rows, lambda row: row.figures.score if row.figures else None)
    outlooks = _ranks(rows, lambda row: row.outlook_score)
    front = pareto_front([_place(row) for row in rows])
    return [
        row.model_copy(update={"rank": rank, "outlook_rank": outlook, "pareto": position in front})
        for position, (row, rank, outlook) in enumerate(zip(rows, scores, outlooks, strict=True))
    ]


def _ranks(rows: Sequence[Row], score_of: Callable[[Row], float | None]) -> list[int | None]:
    scores = [score_of(row) for row in rows]
    known = [score for score in scores if score is not None]
    return [None if score is None else 1 + sum(other > score for other in known) for score in scores]


def _place(row: Row) -> tuple[float, float] | None:
    if row.figures is None or row.figures.map50 is None or row.figures.i_time_ms is None:
        return None
    return row.figures.i_time_ms, row.figures.map50


def pareto_front(places: Sequence[tuple[float, float] | None]) -> list[int]:
    """Positions of the points (ms, mAP) that no other beats in one without losing in the other, the fastest first."""
    known = [(position, place) for position, place in enumerate(places) if place is not None]
    front = [
        (ms, position)
        for position, (ms, map50) in known
        if not any(
            other_ms <= ms and other_map50 >= map50 and (other_ms, other_map50) != (ms, map50)
            for _, (other_ms, other_map50) in known
        )
    ]
    return [position for _, position in sorted(front)]
