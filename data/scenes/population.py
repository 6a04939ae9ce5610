"""What stands where: cars on roads, people on pavements, bicycles between, furniture in the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from data.scenes.bike import build_bike
from data.scenes.camera import Pose, direction
from data.scenes.car import build_car
from data.scenes.dice import Dice
from data.scenes.layout import GRASS, KERB, PAVEMENT, Plan
from data.scenes.model import Model
from data.scenes.person import add_person, build_walker, dress, ride
from data.scenes.props import build_prop

CAR, PERSON, BIKE = range(3)
NO_CLASS = -1

REFERENCE_PX = 416
"""Sizes are judged with the picture's longer side scaled to this."""

TALLEST = 0.75
"""Share of the picture's height that a grown person may fill."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """Models at one place. parts: (class, model) from back to front; a ridden bicycle is a bicycle and a person."""

    parts: tuple[tuple[int, Model], ...]
    pose: Pose
    depth_m: float


@dataclass(slots=True)
class _Ground:
    """The ground that is taken: circles (x, z, radius) in metres."""

    circles: list[tuple[float, float, float]] = field(default_factory=list)

    def claim(self, circles: list[tuple[float, float, float]]) -> bool:
        """Take the circles if all are free."""
        for x, z, radius in circles:
            for other_x, other_z, other_radius in self.circles:
                reach = radius + other_radius
                if (x - other_x) * (x - other_x) + (z - other_z) * (z - other_z) < reach * reach:
                    return False
        self.circles.extend(circles)
        return True


def populate(plan: Plan, dice: Dice) -> list[Thing]:
    """Draw the scene's things, far ones first."""
    count = dice.pick(((2, 7), (5, 12), (8, 18), (10, 24), (36, 70), (45, 80)))
    wanted = dice.whole(*count)
    spots = _spots(plan, dice, wanted * 5 + 40)
    props = dice.whole(1, 9)
    cars = dice.between(0.1, 0.7)
    people = cars + (1.0 - cars) * dice.between(0.4, 0.8)
    ground = _Ground()
    things: list[Thing] = []
    for number, (x, z, depth) in enumerate(spots):
        if len(things) >= wanted + props:
            break
        if not plan.layout.open(x, z):
            continue
        kind = dice.unit()
        if len(things) < props:
            thing = _furniture(plan, dice, ground, x, z, depth)
        elif number < len(spots) // 2 and kind < cars:
            # Cars first: once people stand everywhere, no road is free for one.
            thing = _traffic(plan, dice, ground, CAR, x, z, depth)
        else:
            thing = _traffic(plan, dice, ground, PERSON if kind < people else BIKE, x, z, depth)
        if thing is not None:
            things.append(thing)
    return sorted(things, key=lambda thing: -thing.depth_m)


def _spots(plan: Plan, dice: Dice, count: int) -> list[tuple[float, float, float]]:
    """Ground positions in view, even in the logarithm of distance: x, z, depth."""
    camera = plan.camera
    height, width = camera.size_hw
    unit = max(height, width) / REFERENCE_PX
    farthest = camera.focal_px * 1.7 / (dice.between(11.0, 26.0) * unit)
    nearest = max(
        camera.focal_px * 1.7 / (TALLEST * height),
        camera.focal_px * camera.height_m / (1.02 * height - camera.horizon_px),
        3.0,
    )
    ratio = max(farthest / nearest, 2.0)
    # Halving steps of square roots: powers differ in the last bit between C libraries, square roots do not.
    depth = np.full(count, nearest)
    root = ratio
    for _ in range(7):
        root = math.sqrt(root)
        depth = depth * np.where(dice.units(count) < 0.5, 1.0, root)
    depth = depth * (1.0 + (root - 1.0) * dice.units(count))
    column = (dice.units(count) * 1.04 - 0.02) * width
    right = (column - camera.centre_px) * depth / camera.focal_px
    x, z = camera.ground(right, depth)
    return [(float(a), float(b), float(c)) for a, b, c in zip(x, z, depth, strict=True)]


def _traffic(
    plan: Plan, dice: Dice, ground: _Ground, wish: int, x: float, z: float, depth: float
) -> Thing | None:
    surface = int(plan.layout.surface(np.array(x), np.array(z)))
    off_road = surface in (PAVEMENT, GRASS, KERB)
    if wish == CAR and off_road and not dice.chance(0.08):
        return None
    if wish == PERSON and not off_road and not dice.chance(0.3):
        wish = CAR if dice.chance(0.5) else BIKE
    if wish == CAR:
        return _car(plan, dice, ground, x, z, depth)
    if wish == PERSON:
        return _walker(dice, ground, x, z, depth)
    return _bicycle(plan, dice, ground, x, z, depth, ridden=dice.chance(0.5 if off_road else 0.8))


def _along_road(plan: Plan, dice: Dice) -> tuple[float, float]:
    """A heading along the street, or across the bays of a car park."""
    quarter = 64 if plan.layout.kind in ("avenue", "car park") else 0
    if plan.layout.kind == "plaza":
        quarter = dice.pick((0, 64))
    turn = dice.whole(-30, 30) if dice.chance(0.12) else dice.whole(-2, 2)
    return direction(quarter + turn + (128 if dice.chance(0.5) else 0))


def _car(plan: Plan, dice: Dice, ground: _Ground, x: float, z: float, depth: float) -> Thing | None:
    heading = _along_road(plan, dice)
    if plan.layout.kind == "car park":
        x = math.floor(x / 2.7) * 2.7 + 1.35
    circles = [(x + heading[0] * at, z + heading[1] * at, 1.05) for at in (-1.45, 0.0, 1.45)]
    if not ground.claim(circles):
        return None
    return Thing(parts=((CAR, build_car(dice)),), pose=Pose(x_m=x, z_m=z, heading=heading), depth_m=depth)


def _walker(dice: Dice, ground: _Ground, x: float, z: float, depth: float) -> Thing | None:
    if not ground.claim([(x, z, 0.3)]):
        return None
    pose = Pose(x_m=x, z_m=z, heading=direction(dice.whole(0, 255)))
    return Thing(parts=((PERSON, build_walker(dice)),), pose=pose, depth_m=depth)


def _bicycle(
    plan: Plan, dice: Dice, ground: _Ground, x: float, z: float, depth: float, *, ridden: bool
) -> Thing | None:
    heading = _along_road(plan, dice) if ridden else direction(dice.whole(0, 255))
    if not ground.claim([(x + heading[0] * at, z + heading[1] * at, 0.4) for at in (-0.5, 0.5)]):
        return None
    bike, geometry = build_bike(dice)
    parts: list[tuple[int, Model]] = [(BIKE, bike)]
    if ridden:
        size = min(1.9, geometry.seat[2] * 1.8)
        rider = Model(footprint=bike.footprint, height_m=size)
        joints = ride(geometry.seat, geometry.bars, geometry.pedals, size, dice.whole(0, 255))
        add_person(rider, joints, dress(dice), girth=size * dice.between(0.95, 1.15))
        parts.append((PERSON, rider))
    return Thing(parts=tuple(parts), pose=Pose(x_m=x, z_m=z, heading=heading), depth_m=depth)


def _furniture(plan: Plan, dice: Dice, ground: _Ground, x: float, z: float, depth: float) -> Thing | None:
    surface = int(plan.layout.surface(np.array(x), np.array(z)))
    if surface not in (PAVEMENT, GRASS, KERB) and not dice.chance(0.15):
        return None
    if depth < 7.0 or not ground.claim([(x, z, 0.9)]):
        return None
    pose = Pose(x_m=x, z_m=z, heading=direction(dice.whole(0, 255)))
    return Thing(parts=((NO_CLASS, build_prop(dice)),), pose=pose, depth_m=depth)
