"""What is in the picture but not to be detected: buildings, trees, poles, signs, bins, bollards, hedges, stalls."""

from __future__ import annotations

import numpy as np

from data.scenes.camera import Pose, direction
from data.scenes.dice import Dice
from data.scenes.layout import Plan
from data.scenes.model import Model, Point, add_box, rectangle
from data.scenes.sketch import Bgr

FACADES: tuple[Bgr, ...] = (
    (120, 140, 165), (110, 120, 150), (150, 160, 170), (160, 155, 148), (92, 104, 128), (140, 165, 185), (96, 96, 98),
    (170, 178, 180), (88, 108, 150),
)  # fmt: skip
LEAVES: tuple[Bgr, ...] = ((46, 92, 58), (40, 74, 46), (60, 118, 88), (52, 120, 130), (44, 100, 66))
BARK: Bgr = (52, 66, 84)


def build_building(dice: Dice, frontage_m: float, *, lit: bool) -> Model:
    """A block over the origin with rows of windows on two sides, its fronts along `forward`."""
    depth, height = dice.between(7.0, 11.0), dice.between(6.0, 22.0)
    wall = dice.pick(FACADES)
    model = Model(footprint=rectangle(frontage_m / 2, depth / 2), height_m=height)
    add_box(model, (-frontage_m / 2, -depth / 2, 0.0), (frontage_m / 2, depth / 2, height), wall)
    pane: Bgr = dice.pick(((78, 66, 56), (100, 86, 74), (60, 56, 54)))
    lights = dice.bytes(64)
    columns, rows = max(2, int(frontage_m / dice.between(2.2, 3.6))), max(2, int(height / 3.2))
    inside = (0.0, 0.0, height / 2)
    for side in (-depth / 2, depth / 2):
        for column in range(columns):
            for row in range(min(rows, 5)):
                glow = lit and lights[(column * 7 + row * 3) & 63] < 90
                at = (column + 0.25) * frontage_m / columns - frontage_m / 2
                low = 0.9 + row * 3.2 if row else 0.2
                wide, high = frontage_m / columns * 0.5, 1.6 if row else 2.3
                colour = (110, 190, 235) if glow else pane
                model.face(((at, side, low), (at + wide, side, low), (at + wide, side, low + high),
                            (at, side, low + high)), colour, inside)  # fmt: skip
    return model


def place_buildings(plan: Plan, dice: Dice) -> list[tuple[Model, Pose]]:
    """Rows of buildings where the layout has them, far ones first."""
    lit = plan.weather in ("dusk", "night")
    rows: list[tuple[float, float, float, bool]] = []
    left, right = plan.layout.road
    wall = plan.layout.walls_m
    if plan.layout.kind == "avenue":
        rows = [(left - wall - 5, -10, 110, True), (right + wall + 5, -10, 110, True)]
    elif plan.layout.kind == "crossing":
        rows = [(right + wall + 5, -70, 70, False)]
    else:
        rows = [(plan.layout.far_m + 5, -90, 90, False)]
    placed = []
    for offset, start, end, deep in rows:
        at = start
        while at < end:
            frontage = dice.between(8.0, 16.0)
            middle = at + frontage / 2
            at += frontage + (dice.between(2.0, 8.0) if dice.chance(0.2) else 0.0)
            model = build_building(dice, frontage, lit=lit)
            pose = (
                Pose(x_m=offset, z_m=middle, heading=(0.0, 1.0))
                if deep
                else Pose(x_m=middle, z_m=offset, heading=(1.0, 0.0))
            )
            placed.append((model, pose))
    depth = [float(plan.camera.view(np.array(pose.x_m), np.array(pose.z_m))[1]) for _, pose in placed]
    return [placed[index] for index in sorted(range(len(placed)), key=lambda index: -depth[index])]


def build_tree(dice: Dice) -> Model:
    """A trunk and a crown of many leaf balls, lighter towards the top."""
    height = dice.between(3.5, 8.0)
    crown = height * dice.between(0.22, 0.34)
    middle = height - crown
    model = Model(footprint=rectangle(crown * 0.8, crown * 0.8), height_m=height)
    model.tube(((0.0, 0.0, 0.0), (0.05, 0.0, middle)), dice.between(0.09, 0.2), BARK)
    leaf = dice.pick(LEAVES)
    for number in range(22):
        cosine, sine = direction(dice.whole(0, 255))
        reach = crown * dice.between(0.1, 0.85)
        up = middle + crown * (number / 22 * 1.6 - 0.8)
        shade = 0.62 + 0.55 * number / 22 + dice.between(-0.1, 0.1)
        colour = tuple(min(255, int(value * shade)) for value in leaf)
        model.tube(
            ((reach * cosine, reach * sine, up),),
            crown * dice.between(0.28, 0.5),
            (colour[0], colour[1], colour[2]),
        )
    return model


def build_prop(dice: Dice) -> Model:
    """One piece of street furniture."""
    return dice.pick((build_tree, build_tree, _lamp, _sign, _bin, _bollard, _hedge, _crates, _kiosk))(dice)


def _lamp(dice: Dice) -> Model:
    height = dice.between(4.0, 7.0)
    model = Model(footprint=rectangle(0.1, 0.1), height_m=height)
    grey: Bgr = dice.pick(((90, 92, 94), (60, 70, 60), (130, 132, 134)))
    model.tube(((0.0, 0.0, 0.0), (0.0, 0.0, height), (0.9, 0.0, height + 0.1)), 0.06, grey)
    model.tube(((0.7, 0.0, height + 0.05), (1.1, 0.0, height + 0.08)), 0.1, (200, 220, 225))
    return model


def _sign(dice: Dice) -> Model:
    height = dice.between(2.0, 2.8)
    model = Model(footprint=rectangle(0.06, 0.3), height_m=height)
    model.tube(((0.0, 0.0, 0.0), (0.0, 0.0, height)), 0.035, (120, 122, 124))
    colour: Bgr = dice.pick(((40, 40, 205), (180, 90, 30), (60, 200, 240)))
    if dice.chance(0.5):
        model.tube(((0.05, 0.0, height),), 0.32, colour)
        model.tube(((0.06, 0.0, height),), 0.22, (235, 238, 240))
    else:
        plate: tuple[Point, ...] = ((0.05, -0.3, height - 0.6), (0.05, 0.3, height - 0.6), (0.05, 0.3, height),
                                    (0.05, -0.3, height))  # fmt: skip
        model.face(plate, colour)
    return model


def _bin(dice: Dice) -> Model:
    height = dice.between(0.9, 1.3)
    model = Model(footprint=rectangle(0.3, 0.3), height_m=height)
    colour: Bgr = dice.pick(((60, 90, 50), (50, 50, 54), (130, 80, 40), (40, 150, 180)))
    add_box(model, (-0.3, -0.3, 0.05), (0.3, 0.3, height), colour, (40, 40, 42))
    return model


def _bollard(dice: Dice) -> Model:
    height = dice.between(0.7, 1.1)
    model = Model(footprint=rectangle(0.1, 0.1), height_m=height)
    model.tube(
        ((0.0, 0.0, 0.0), (0.0, 0.0, height)), 0.08, dice.pick(((60, 60, 62), (110, 112, 114), (40, 60, 170)))
    )
    model.tube(((0.0, 0.0, height * 0.85), (0.0, 0.0, height * 0.88)), 0.085, (230, 230, 230))
    return model


def _hedge(dice: Dice) -> Model:
    half, height = dice.between(1.0, 3.0), dice.between(0.6, 1.3)
    model = Model(footprint=rectangle(half, 0.4), height_m=height)
    leaf = dice.pick(LEAVES)
    add_box(model, (-half, -0.4, 0.0), (half, 0.4, height), leaf)
    for _ in range(10):
        shade = dice.between(0.8, 1.25)
        colour = (int(leaf[0] * shade), int(leaf[1] * shade), int(leaf[2] * shade))
        model.tube(
            ((dice.between(-half, half), 0.35 if dice.chance(0.5) else -0.35, dice.between(0.2, height)),),
            0.2,
            colour,
        )
    return model


def _crates(dice: Dice) -> Model:
    model = Model(footprint=rectangle(0.6, 0.5), height_m=1.2)
    for base in range(dice.whole(1, 3)):
        shift = dice.between(-0.1, 0.1)
        colour: Bgr = dice.pick(((90, 130, 170), (60, 100, 150), (150, 120, 70), (70, 120, 60)))
        add_box(model, (-0.45 + shift, -0.4, base * 0.45), (0.45 + shift, 0.4, base * 0.45 + 0.42), colour)
    return model


def _kiosk(dice: Dice) -> Model:
    model = Model(footprint=rectangle(1.4, 1.0), height_m=2.6)
    colour: Bgr = dice.pick(((60, 60, 150), (110, 90, 50), (70, 110, 70), (150, 150, 150)))
    add_box(model, (-1.3, -0.9, 0.0), (1.3, 0.9, 2.3), colour)
    inside = (0.0, 0.0, 1.2)
    for side in (-0.9, 0.9):
        model.face(
            ((-1.0, side, 1.0), (1.0, side, 1.0), (1.0, side, 1.9), (-1.0, side, 1.9)), (60, 56, 52), inside
        )
    add_box(
        model, (-1.5, -1.1, 2.3), (1.5, 1.1, 2.5), dice.pick(((230, 230, 235), (50, 50, 180), (90, 140, 60)))
    )
    return model
