"""The picture of a sweep: mAP over i_time, lines of equal score, Pareto fronts, and names that cover no other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from jobs.measure.score import competition_score
from jobs.report.charts import Tick, nice_step, ticks
from jobs.report.page import render
from jobs.study.sweep_file import size_label
from jobs.study.sweep_points import Row, pareto_front

Box = tuple[float, float, float, float]
CHARACTER_PX: Final = 6.6
LINE_PX: Final = 14.0
POINT_PX: Final = 8.0
# Around a point, the best place first: pixels from it, and which end of the text stands there.
_PLACES: Final = (
    (10, 4, "start"),
    (-10, 4, "end"),
    (0, -11, "middle"),
    (0, 20, "middle"),
    (9, -8, "start"),
    (9, 17, "start"),
    (-9, -8, "end"),
    (-9, 17, "end"),
    (0, -26, "middle"),
    (0, 35, "middle"),
    (22, -18, "start"),
    (22, 28, "start"),
)
_OUTSIDE_COST: Final = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """Where a text stands, pixels; anchor: which end of it is there, as SVG names it."""

    x: float
    y: float
    anchor: str


def place_labels(places: Sequence[tuple[float, float]], texts: Sequence[str], *, inside: Box) -> list[Label]:
    """A place for the text of each point: the first that covers nothing, or the one that covers least."""
    taken: list[Box] = [(x - POINT_PX, y - POINT_PX, x + POINT_PX, y + POINT_PX) for x, y in places]
    found = []
    for own, ((x, y), text) in enumerate(zip(places, texts, strict=True)):
        others = taken[:own] + taken[own + 1 :]
        choices = [Label(x=x + dx, y=y + dy, anchor=anchor) for dx, dy, anchor in _PLACES]
        best = min(choices, key=lambda label: _cost(_box(label, text), others, inside))
        taken.append(_box(best, text))
        found.append(best)
    return found


def _box(label: Label, text: str) -> Box:
    width = CHARACTER_PX * len(text)
    left = label.x - {"start": 0.0, "middle": width / 2, "end": width}[label.anchor]
    return left, label.y - LINE_PX + 3, left + width, label.y + 3


def _cost(box: Box, others: Sequence[Box], inside: Box) -> float:
    area = sum(_shared(box, other) for other in others)
    within = _shared(box, inside) >= (box[2] - box[0]) * (box[3] - box[1]) - 1e-6
    return area if within else area + _OUTSIDE_COST


def _shared(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across * down if across > 0 and down > 0 else 0.0


SCORE_LINES: Final = 10

Kind = Literal["run", "published", "outlook"]
LEGEND: Final[dict[Kind, str]] = {
    "run": "ran here",
    "published": "published",
    "outlook": "published mAP at the predicted time",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A point to draw: i_time in ms, mAP as a fraction, and its name."""

    kind: Kind
    ms: float
    map50: float
    label: str

    @property
    def title(self) -> str:
        """What is shown when it is pointed at."""
        score = competition_score(self.map50, self.ms)
        return (
            f"{self.label}: mAP {self.map50:.4f}, {self.ms:.2f} ms, score {score:.2f} ({LEGEND[self.kind]})"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What part of the plane is shown: ms across, mAP in percent upwards; and where that lies in the picture, pixels.

    right: leaves room for the names of the score lines.
    """

    low_ms: float
    high_ms: float
    low_map: float
    high_map: float
    width: int = 960
    height: int = 600
    left: int = 62
    top: int = 78
    right: int = 960 - 78
    bottom: int = 600 - 54

    @classmethod
    def around(cls, marks: Sequence[Mark]) -> Frame:
        """Show all marks with some room around them."""
        times, maps = [mark.ms for mark in marks], [100 * mark.map50 for mark in marks]
        across = max(max(times) - min(times), 0.2 * max(times), 1e-6)
        upwards = max(max(maps) - min(maps), 2.0)
        return cls(
            low_ms=max(0.0, min(times) - 0.1 * across),
            high_ms=max(times) + 0.1 * across,
            low_map=max(0.0, min(maps) - 0.15 * upwards),
            high_map=min(100.0, max(maps) + 0.15 * upwards),
        )

    def place(self, ms: float, map_percent: float) -> tuple[float, float]:
        """Pixels from the left and from the top."""
        across = (ms - self.low_ms) / (self.high_ms - self.low_ms)
        upwards = (map_percent - self.low_map) / (self.high_map - self.low_map)
        x = self.left + across * (self.right - self.left)
        return x, self.bottom - upwards * (self.bottom - self.top)

    @property
    def x_ticks(self) -> tuple[Tick, ...]:
        """Round times."""
        return ticks(self.low_ms, self.high_ms, most=8)

    @property
    def y_ticks(self) -> tuple[Tick, ...]:
        """Round accuracies."""
        return ticks(self.low_map, self.high_map, most=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreLine:
    """A line of equal score, pixels, its name at the second end."""

    x1: float
    y1: float
    x2: float
    y2: float
    name: str


def picture(rows: Sequence[Row], *, title: str) -> str | None:
    """The picture as SVG; None where no point has both an mAP and a time."""
    marks = marks_of(rows)
    if not marks:
        return None
    frame = Frame.around(marks)
    places = [frame.place(mark.ms, 100 * mark.map50) for mark in marks]
    inside = (frame.left, frame.top, frame.right, frame.bottom)
    labels = place_labels(places, [mark.label for mark in marks], inside=inside)
    svg = render(
        "sweep.svg.j2",
        title=title,
        frame=frame,
        legend={kind: text for kind, text in LEGEND.items() if any(mark.kind == kind for mark in marks)},
        scores=_score_lines(frame),
        fronts=_fronts(marks, places),
        marks=list(zip(marks, places, labels, strict=True)),
    )
    return f"{svg}\n"


def marks_of(rows: Iterable[Row]) -> list[Mark]:
    """Everything that can be drawn of the points; an outlook is left out where the point itself ran."""
    places: list[tuple[Kind, Row, float | None, float | None]] = []
    for row in rows:
        ran = row.figures is not None and row.figures.map50 is not None
        if row.figures is not None:
            places.append(("run", row, row.figures.i_time_ms, row.figures.map50))
        if row.published is not None:
            places.append(("published", row, row.published.i_time_ms, row.published.map50))
            if row.predicted is not None and not ran:
                places.append(("outlook", row, row.predicted.ms, row.published.map50))
    known = [
        (kind, row, ms, map50) for kind, row, ms, map50 in places if ms is not None and map50 is not None
    ]
    names = _names([row for _, row, _, _ in known])
    return [
        Mark(kind=kind, ms=ms, map50=map50, label=name)
        for (kind, _, ms, map50), name in zip(known, names, strict=True)
    ]


def _names(rows: Sequence[Row]) -> list[str]:
    """What tells the points apart: the parts in which they differ, the model where they differ in nothing."""
    parts = [
        (row.model, size_label(row.size_hw), row.precision, f"b{row.batch}", row.preprocess) for row in rows
    ]
    differ = [len(set(column)) > 1 for column in zip(*parts, strict=True)]
    return [
        " ".join(part for part, differs in zip(one, differ, strict=True) if differs) or one[0]
        for one in parts
    ]


def _score_lines(frame: Frame) -> list[ScoreLine]:
    """Lines mAP = score - 100 + i_time / 10, clipped to the frame."""
    low = competition_score(frame.low_map / 100, frame.high_ms)
    high = competition_score(frame.high_map / 100, frame.low_ms)
    step = nice_step((high - low) / SCORE_LINES)
    lines: list[ScoreLine] = []
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        score = number * step
        start_ms = max(frame.low_ms, 10 * (frame.low_map - score + 100))
        end_ms = min(frame.high_ms, 10 * (frame.high_map - score + 100))
        if end_ms > start_ms:
            (x1, y1), (x2, y2) = (frame.place(ms, score - 100 + ms / 10) for ms in (start_ms, end_ms))
            name = f"{score:g}" if lines else f"score {score:g}"
            lines.append(ScoreLine(x1=x1, y1=y1, x2=x2, y2=y2, name=name))
    return lines


def _fronts(
    marks: Sequence[Mark], places: Sequence[tuple[float, float]]
) -> dict[Kind, list[tuple[float, float]]]:
    """The Pareto front of each kind, pixels; where there is more than one point on it."""
    fronts = {
        kind: pareto_front([(mark.ms, mark.map50) if mark.kind == kind else None for mark in marks])
        for kind in LEGEND
    }
    return {kind: [places[one] for one in front] for kind, front in fronts.items() if len(front) > 1}
