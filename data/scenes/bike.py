"""Bicycles: two spoked wheels, a frame, saddle and handlebar, some with mudguards, baskets or a child's size."""

from __future__ import annotations

from dataclasses import dataclass

from data.scenes.camera import direction
from data.scenes.dice import Dice
from data.scenes.model import Model, Point, add_box, rectangle
from data.scenes.sketch import SEE_THROUGH, Bgr

FRAMES: tuple[Bgr, ...] = (
    (40, 36, 200), (190, 90, 30), (60, 160, 60), (30, 30, 32), (230, 230, 230), (40, 190, 240), (200, 160, 60),
    (150, 60, 150), (40, 120, 240),
)  # fmt: skip
TYRE: Bgr = (26, 24, 26)
RIM: Bgr = (150, 152, 155)


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """Where a bicycle's parts are, metres in the model's frame."""

    wheel_radius: float
    rear: Point
    front: Point
    pedals: Point
    seat: Point
    bars: Point


def build_bike(dice: Dice) -> tuple[Model, Geometry]:
    """A bicycle over the origin, facing forward, and where a rider would touch it."""
    size = dice.between(0.72, 0.85) if dice.chance(0.12) else dice.between(0.95, 1.06)
    radius = 0.345 * size
    geometry = Geometry(
        wheel_radius=radius,
        rear=(-0.53 * size, 0.0, radius),
        front=(0.55 * size, 0.0, radius),
        pedals=(-0.06 * size, 0.0, 0.28 * size),
        seat=(-0.26 * size, 0.0, dice.between(0.9, 1.0) * size),
        bars=(0.36 * size, 0.0, dice.between(0.95, 1.1) * size),
    )
    model = Model(footprint=rectangle(0.85 * size, 0.08), height_m=1.0 * size)
    paint = dice.pick(FRAMES)
    for hub in (geometry.rear, geometry.front):
        _wheel(model, hub, radius)
    _frame(model, geometry, paint, step_through=dice.chance(0.4))
    _extras(model, geometry, paint, dice)
    return model, geometry


def _wheel(model: Model, hub: Point, radius: float) -> None:
    rim = [
        (hub[0] + radius * 0.95 * c, 0.0, hub[2] + radius * 0.95 * s)
        for c, s in (direction(step) for step in range(0, 257, 16))
    ]
    model.face(rim[:-1], RIM, coverage=SEE_THROUGH)
    for spoke in range(0, 8, 2):
        model.tube((rim[spoke], rim[spoke + 8]), 0.006, RIM)
    model.tube(rim, 0.028, TYRE)
    model.tube((hub,), 0.04, (90, 90, 92))


def _frame(model: Model, geometry: Geometry, paint: Bgr, *, step_through: bool) -> None:
    seat, bars, pedals = geometry.seat, geometry.bars, geometry.pedals
    head_top: Point = (bars[0] + 0.03, 0.0, bars[2] - 0.16)
    head_low: Point = (bars[0] + 0.07, 0.0, bars[2] - 0.32)
    seat_top: Point = (seat[0] + 0.03, 0.0, seat[2] - 0.14)
    thick = 0.03
    model.tube((pedals, geometry.rear, seat_top), thick * 0.7, paint)
    model.tube((seat_top, pedals, head_low), thick, paint)
    if step_through:
        model.tube(((pedals[0] - 0.07, 0.0, pedals[2] + 0.22), head_top), thick, paint)
    else:
        model.tube((seat_top, head_top), thick, paint)
    model.tube((bars, head_low, geometry.front), thick * 0.9, paint)
    model.tube((seat_top, seat), 0.018, RIM)


def _extras(model: Model, geometry: Geometry, paint: Bgr, dice: Dice) -> None:
    seat, bars, pedals = geometry.seat, geometry.bars, geometry.pedals
    black: Bgr = (30, 28, 30)
    model.tube(((seat[0] - 0.12, 0.0, seat[2] + 0.02), (seat[0] + 0.12, 0.0, seat[2])), 0.045, black)
    model.tube(((bars[0] - 0.06, -0.29, bars[2]), (bars[0], 0.0, bars[2] + 0.02), (bars[0] - 0.06, 0.29, bars[2])),
               0.022, black)  # fmt: skip
    model.tube((pedals,), 0.07, (70, 70, 72))
    model.tube(
        ((pedals[0] + 0.12, -0.1, pedals[2] - 0.1), (pedals[0] - 0.12, 0.1, pedals[2] + 0.1)), 0.02, black
    )
    if dice.chance(0.45):
        for hub in (geometry.rear, geometry.front):
            reach = geometry.wheel_radius + 0.04
            arch = [
                (hub[0] + reach * c, 0.0, hub[2] + reach * s) for c, s in map(direction, range(24, 120, 16))
            ]
            model.tube(arch, 0.02, paint)
    if dice.chance(0.3):
        ahead = bars[0] + 0.1
        add_box(model, (ahead, -0.16, bars[2] - 0.2), (ahead + 0.26, 0.16, bars[2] + 0.02), (60, 100, 140))
    if dice.chance(0.3):
        rear = geometry.rear
        model.tube(((rear[0] - 0.2, 0.0, rear[2] * 2 + 0.1), (seat[0], 0.0, rear[2] * 2 + 0.1)), 0.025, black)
