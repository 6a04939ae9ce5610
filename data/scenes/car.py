"""Cars: an extruded hull, a tapering cabin with glass, wheels and lamps, in five body styles."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from data.scenes.camera import direction
from data.scenes.dice import Dice
from data.scenes.model import Model, Point, rectangle
from data.scenes.sketch import Bgr

PAINTS: tuple[Bgr, ...] = (
    (235, 235, 232), (205, 205, 205), (150, 150, 152), (60, 60, 62), (34, 32, 32), (46, 40, 170), (30, 30, 215),
    (150, 70, 30), (190, 120, 50), (80, 110, 40), (40, 170, 220), (70, 120, 200), (120, 60, 60), (170, 190, 205),
)  # fmt: skip
TAXI: Bgr = (30, 190, 245)
RUBBER: Bgr = (24, 24, 26)
GLASS: tuple[Bgr, ...] = ((70, 58, 48), (96, 84, 70), (52, 46, 42))


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A body style: metres, and the cabin's four corners along the car as shares of its length from the middle."""

    length: float
    width: float
    height: float
    hull: float
    cabin_rear: float
    cabin_front: float
    roof_rear: float
    roof_front: float


BODIES: tuple[Body, ...] = (
    Body(length=4.5, width=1.8, height=1.45, hull=0.88, cabin_rear=-0.38, cabin_front=0.27, roof_rear=-0.22, roof_front=0.08),
    Body(length=3.9, width=1.7, height=1.5, hull=0.9, cabin_rear=-0.48, cabin_front=0.28, roof_rear=-0.4, roof_front=0.08),
    Body(length=4.6, width=1.9, height=1.72, hull=1.02, cabin_rear=-0.49, cabin_front=0.26, roof_rear=-0.44, roof_front=0.1),
    Body(length=4.9, width=1.95, height=2.05, hull=1.08, cabin_rear=-0.495, cabin_front=0.38, roof_rear=-0.485, roof_front=0.2),
    Body(length=5.1, width=1.9, height=1.75, hull=1.0, cabin_rear=-0.1, cabin_front=0.28, roof_rear=-0.06, roof_front=0.12),
)  # fmt: skip


def build_car(dice: Dice) -> Model:
    """A car, its middle over the origin, facing forward."""
    body = dice.pick(BODIES)
    taxi = dice.chance(0.06)
    paint = TAXI if taxi else dice.pick(PAINTS)
    half = body.width / 2
    model = Model(footprint=rectangle(body.length / 2, half), height_m=body.height)
    _underside(model, body)
    _hull(model, body, paint)
    for side in (-half, half):
        _side_details(model, body, side)
    _ends(model, body, dice.bytes(1)[0] & 1 == 1)
    _cabin(model, body, paint, dice.pick(GLASS))
    if taxi:
        middle = (body.roof_rear + body.roof_front) / 2 * body.length
        model.tube(
            ((middle, -0.2, body.height + 0.08), (middle, 0.2, body.height + 0.08)), 0.09, (240, 250, 250)
        )
    return model


def _underside(model: Model, body: Body) -> None:
    reach, half = body.length * 0.46, body.width / 2 - 0.05
    shade: Bgr = (20, 20, 22)
    model.face(((-reach, -half, 0.2), (reach, -half, 0.2), (reach, half, 0.2), (-reach, half, 0.2)), shade)
    for forward in (-0.3, 0.3):
        for left in (-half + 0.12, half - 0.12):
            bottom = forward * body.length
            model.face(
                (
                    (bottom - 0.28, left, 0.3), (bottom - 0.15, left, 0.01), (bottom + 0.15, left, 0.01),
                    (bottom + 0.28, left, 0.3),
                ),
                RUBBER,
            )  # fmt: skip


def _hull(model: Model, body: Body, paint: Bgr) -> None:
    half, end = body.width / 2, body.length / 2
    profile = (
        (-end * 0.96, 0.2), (-end, 0.45), (-end * 0.97, body.hull), (end * 0.5, body.hull),
        (end * 0.93, body.hull - 0.16), (end, 0.5), (end * 0.96, 0.2),
    )  # fmt: skip
    inside = (0.0, 0.0, 0.5)
    for (f0, u0), (f1, u1) in pairwise(profile):
        model.face(((f0, half, u0), (f1, half, u1), (f1, -half, u1), (f0, -half, u0)), paint, inside)
    for side in (-half, half):
        model.face([(f, side, u) for f, u in profile], paint, inside)


def _side_details(model: Model, body: Body, side: float) -> None:
    """Sill, door gaps, wheels; seen with the side they lie on."""
    inside = (0.0, 0.0, 0.5)
    end = body.length / 2
    model.face(((-end * 0.9, side, 0.2), (end * 0.9, side, 0.2), (end * 0.9, side, 0.32), (-end * 0.9, side, 0.32)),
               (52, 50, 50), inside)  # fmt: skip
    for gap in (-0.16, 0.04, 0.22):
        at = gap * body.length
        model.face(((at, side, 0.33), (at + 0.03, side, 0.33), (at + 0.03, side, body.hull), (at, side, body.hull)),
                   (60, 58, 58), inside)  # fmt: skip
    for forward in (-0.3, 0.3):
        centre = (forward * body.length, side, 0.33)
        model.face(_circle(centre, 0.4), (28, 26, 28), inside)
        model.face(_circle(centre, 0.33), RUBBER, inside)
        model.face(_circle(centre, 0.2), (170, 172, 174), inside)
        model.face(_circle(centre, 0.08), (90, 90, 92), inside)


def _circle(centre: Point, radius: float) -> list[Point]:
    turns = (direction(step) for step in range(0, 256, 16))
    return [(centre[0] + radius * c, centre[1], centre[2] + radius * s) for c, s in turns]


def _ends(model: Model, body: Body, lit: bool) -> None:  # noqa: FBT001 - a die's face, not an option
    """Bumpers, number plates, head and tail lamps."""
    half, end = body.width / 2, body.length / 2
    inside = (0.0, 0.0, 0.5)
    lamp: Bgr = (225, 248, 252) if lit else (210, 214, 205)
    brake: Bgr = (40, 40, 250) if lit else (38, 30, 160)
    for at, colour in ((end, lamp), (-end, brake)):
        outwards = 1.012 if at > 0 else 1.004
        low, high = (0.5, 0.66) if at > 0 else (0.6, 0.84)
        for side in (-1.0, 1.0):
            outer, inner = side * half * 0.96, side * half * 0.6
            model.face(((at * outwards * 0.99, outer, low), (at * outwards * 0.99, inner, low),
                        (at * outwards * 0.98, inner, high), (at * outwards * 0.98, outer, high)), colour, inside)  # fmt: skip
        model.face(
            ((at, -half, 0.24), (at, half, 0.24), (at, half, 0.4), (at, -half, 0.4)), (48, 46, 46), inside
        )
        model.face(
            ((at, -0.26, 0.42), (at, 0.26, 0.42), (at, 0.26, 0.54), (at, -0.26, 0.54)),
            (225, 232, 235),
            inside,
        )
    model.face(((end * 0.995, -0.5, 0.55), (end * 0.995, 0.5, 0.55), (end * 0.96, 0.5, 0.66),
                (end * 0.96, -0.5, 0.66)), (40, 38, 38), inside)  # fmt: skip


def _cabin(model: Model, body: Body, paint: Bgr, glass: Bgr) -> None:
    base, roof = body.width / 2 * 0.95, body.width / 2 * 0.76
    rear, front = body.cabin_rear * body.length, body.cabin_front * body.length
    roof_rear, roof_front = body.roof_rear * body.length, body.roof_front * body.length
    low, high = body.hull, body.height
    inside = ((rear + front) / 2, 0.0, (low + high) / 2)
    walls = (
        ((rear, base, low), (rear, -base, low), (roof_rear, -roof, high), (roof_rear, roof, high)),
        ((front, base, low), (front, -base, low), (roof_front, -roof, high), (roof_front, roof, high)),
        ((rear, base, low), (front, base, low), (roof_front, roof, high), (roof_rear, roof, high)),
        ((rear, -base, low), (front, -base, low), (roof_front, -roof, high), (roof_rear, -roof, high)),
    )
    for number, wall in enumerate(walls):
        model.face(wall, paint, inside)
        spans = ((0.07, 0.93),) if number < 2 else ((0.08, 0.47), (0.53, 0.92))
        for left, right in spans:
            model.face(_pane(wall, left, right), glass, inside)
    model.face(((roof_rear, roof, high), (roof_front, roof, high), (roof_front, -roof, high),
                (roof_rear, -roof, high)), paint, inside)  # fmt: skip


def _pane(wall: tuple[Point, Point, Point, Point], left: float, right: float) -> list[Point]:
    """A window inside a wall of four corners (low left, low right, high right, high left)."""
    low_left, low_right, high_right, high_left = wall
    return [
        _mix(_mix(low_left, low_right, across), _mix(high_left, high_right, across), up)
        for across, up in ((left, 0.1), (right, 0.1), (right, 0.88), (left, 0.88))
    ]


def _mix(a: Point, b: Point, share: float) -> Point:
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)
