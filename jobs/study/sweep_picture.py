"""Where the names of points go in a picture, so that they cover neither each other nor other points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, Literal

from jobs.measure.score import competition_score
from jobs.report.charts import nice_step, ticks
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


WIDTH_PX: Final = 960
HEIGHT_PX: Final = 600
LEFT_PX: Final = 62
TOP_PX: Final = 78
RIGHT_PX: Final = 78  # the names of the lines stand there
BOTTOM_PX: Final = 54
SCORE_LINES: Final = 10

Kind = Literal["run", "published", "outlook"]
LEGEND: Final[dict[Kind, str]] = {
    "run": "ran here",
    "published": "published",
    "outlook": "published mAP at the predicted time",
}
# Readable on light and dark; kinds differ by form as well.
_STYLE: Final = """
.ground { fill: #ffffff } text { fill: #1c2733; font: 12px sans-serif } .title { font: bold 15px sans-serif }
.grid { stroke: #e3e8ee } .score { stroke: #b9c4d0; stroke-dasharray: 5 4 } .score-name { fill: #6b7a8a; font-size: 11px }
.frame { fill: none; stroke: #8795a4 } .mark { stroke-width: 2 }
.run { fill: #1f6fb5; stroke: #1f6fb5 } .published { fill: #ffffff; stroke: #c0561a } .outlook { fill: #ffffff; stroke: #2b8a57 }
.front { fill: none; stroke-width: 1.5 } .front.published, .front.outlook { fill: none; stroke-dasharray: 2 3 } .front.run { fill: none }
@media (prefers-color-scheme: dark) {
.ground { fill: #12181f } text { fill: #dde5ee } .grid { stroke: #26313d } .score { stroke: #4b5a69 }
.score-name { fill: #93a3b4 } .frame { stroke: #5c6b7b } .run { fill: #69b3f2; stroke: #69b3f2 }
.published { fill: #12181f; stroke: #f09a5f } .outlook { fill: #12181f; stroke: #66cf98 } }
"""


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
    """What part of the plane is shown: ms across, mAP in percent upwards; and where that lies in the picture."""

    low_ms: float
    high_ms: float
    low_map: float
    high_map: float

    def x(self, ms: float) -> float:
        """Pixels from the left."""
        share = (ms - self.low_ms) / (self.high_ms - self.low_ms)
        return LEFT_PX + share * (WIDTH_PX - LEFT_PX - RIGHT_PX)

    def y(self, map_percent: float) -> float:
        """Pixels from the top."""
        share = (map_percent - self.low_map) / (self.high_map - self.low_map)
        return HEIGHT_PX - BOTTOM_PX - share * (HEIGHT_PX - TOP_PX - BOTTOM_PX)


def picture(rows: Sequence[Row], *, title: str) -> str | None:
    """The picture as SVG; None where no point has both an mAP and a time."""
    marks = marks_of(rows)
    if not marks:
        return None
    frame = _frame(marks)
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}" width="{WIDTH_PX}" '
                f'height="{HEIGHT_PX}" role="img" aria-label="{escape(title)}">'
            ),
            f"<style>{_STYLE}</style>",
            f'<rect class="ground" width="{WIDTH_PX}" height="{HEIGHT_PX}"/>',
            f'<text class="title" x="{LEFT_PX}" y="28">{escape(title)}</text>',
            *_legend(marks),
            *_axes(frame),
            *_score_lines(frame),
            *_fronts(marks, frame),
            *_marks(marks, frame),
            "</svg>",
            "",
        ]
    )


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


def _frame(marks: Sequence[Mark]) -> Frame:
    times, maps = [mark.ms for mark in marks], [100 * mark.map50 for mark in marks]
    across, upwards = max(max(times) - min(times), 0.2 * max(times), 1e-6), max(max(maps) - min(maps), 2.0)
    return Frame(
        low_ms=max(0.0, min(times) - 0.1 * across),
        high_ms=max(times) + 0.1 * across,
        low_map=max(0.0, min(maps) - 0.15 * upwards),
        high_map=min(100.0, max(maps) + 0.15 * upwards),
    )


def _legend(marks: Sequence[Mark]) -> list[str]:
    drawn, x = [], float(LEFT_PX + 8)
    for kind in (kind for kind in LEGEND if any(mark.kind == kind for mark in marks)):
        drawn.append(_form(kind, x, 50))
        drawn.append(f'<text x="{x + 12:.0f}" y="54">{LEGEND[kind]}</text>')
        x += 40 + 6.5 * len(LEGEND[kind])
    drawn.append(f'<line class="score" x1="{x:.0f}" x2="{x + 26:.0f}" y1="50" y2="50"/>')
    drawn.append(f'<text x="{x + 34:.0f}" y="54">the same score; thin lines: Pareto fronts</text>')
    return drawn


def _form(kind: Kind, x: float, y: float) -> str:
    if kind == "outlook":
        return f'<path class="mark outlook" d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"/>'
    return f'<circle class="mark {kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'


def _axes(frame: Frame) -> list[str]:
    right, bottom = WIDTH_PX - RIGHT_PX, HEIGHT_PX - BOTTOM_PX
    drawn = []
    for tick in ticks(frame.low_ms, frame.high_ms, most=8):
        x = LEFT_PX + tick.at * (right - LEFT_PX)
        drawn.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP_PX}" y2="{bottom}"/>')
        drawn.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick.label}</text>')
    for tick in ticks(frame.low_map, frame.high_map, most=7):
        y = bottom - tick.at * (bottom - TOP_PX)
        drawn.append(f'<line class="grid" x1="{LEFT_PX}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text x="{LEFT_PX - 8}" y="{y + 4:.1f}" text-anchor="end">{tick.label}</text>')
    middle = (TOP_PX + bottom) / 2
    return [
        *drawn,
        f'<rect class="frame" x="{LEFT_PX}" y="{TOP_PX}" width="{right - LEFT_PX}" height="{bottom - TOP_PX}"/>',
        f'<text x="{(LEFT_PX + right) / 2:.0f}" y="{HEIGHT_PX - 12}" text-anchor="middle">i_time an image, ms</text>',
        f'<text transform="translate(16 {middle:.0f}) rotate(-90)" text-anchor="middle">mAP at IoU 0.5, %</text>',
    ]


def _score_lines(frame: Frame) -> list[str]:
    """Lines mAP = score - 100 + i_time / 10, clipped to the frame."""
    low = competition_score(frame.low_map / 100, frame.high_ms)
    high = competition_score(frame.high_map / 100, frame.low_ms)
    step = nice_step((high - low) / SCORE_LINES)
    drawn = []
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        score = number * step
        start_ms = max(frame.low_ms, 10 * (frame.low_map - score + 100))
        end_ms = min(frame.high_ms, 10 * (frame.high_map - score + 100))
        if end_ms <= start_ms:
            continue
        ends = [(frame.x(ms), frame.y(score - 100 + ms / 10)) for ms in (start_ms, end_ms)]
        (x1, y1), (x2, y2) = ends
        drawn.append(f'<line class="score" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
        at_right = end_ms == frame.high_ms
        x, y, anchor = (x2 + 5, y2 + 4, "start") if at_right else (x2, y2 - 5, "middle")
        text = f"{score:g}" if drawn else f"score {score:g}"
        drawn.append(f'<text class="score-name" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>')
    return drawn


def _fronts(marks: Sequence[Mark], frame: Frame) -> list[str]:
    drawn = []
    for kind in LEGEND:
        places = [(mark.ms, mark.map50) if mark.kind == kind else None for mark in marks]
        front = [marks[position] for position in pareto_front(places)]
        if len(front) > 1:
            points = " ".join(f"{frame.x(mark.ms):.1f},{frame.y(100 * mark.map50):.1f}" for mark in front)
            drawn.append(f'<polyline class="front {kind}" points="{points}"/>')
    return drawn


def _marks(marks: Sequence[Mark], frame: Frame) -> list[str]:
    places = [(frame.x(mark.ms), frame.y(100 * mark.map50)) for mark in marks]
    inside = (LEFT_PX, TOP_PX, WIDTH_PX - RIGHT_PX, HEIGHT_PX - BOTTOM_PX)
    labels = place_labels(places, [mark.label for mark in marks], inside=inside)
    return [
        f"<g><title>{escape(mark.title)}</title>{_form(mark.kind, x, y)}"
        f'<text x="{label.x:.1f}" y="{label.y:.1f}" text-anchor="{label.anchor}">{escape(mark.label)}</text></g>'
        for mark, (x, y), label in zip(marks, places, labels, strict=True)
    ]
