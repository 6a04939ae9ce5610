"""Where the names of points go in a picture, so that they cover neither each other nor other points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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
