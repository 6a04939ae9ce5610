"""People: walking, standing or riding, of many builds, with many clothes and bags, jointed at neck, elbows, hips and knees."""

from __future__ import annotations

from dataclasses import dataclass

from data.scenes.camera import direction
from data.scenes.dice import Dice
from data.scenes.model import Model, Point, rectangle
from data.scenes.sketch import Bgr

SKINS: tuple[Bgr, ...] = (
    (170, 200, 238),
    (140, 176, 222),
    (110, 148, 200),
    (80, 112, 162),
    (52, 76, 116),
    (38, 52, 84),
)
HAIRS: tuple[Bgr, ...] = (
    (24, 26, 30),
    (34, 48, 72),
    (50, 84, 130),
    (90, 150, 200),
    (150, 152, 156),
    (30, 50, 120),
)
TOPS: tuple[Bgr, ...] = (
    (50, 40, 200), (40, 110, 235), (60, 200, 240), (70, 150, 50), (180, 90, 30), (200, 150, 60), (150, 60, 140),
    (240, 240, 240), (40, 38, 38), (120, 120, 124), (170, 150, 235), (100, 90, 70), (60, 60, 130), (150, 170, 120),
)  # fmt: skip
BOTTOMS: tuple[Bgr, ...] = (
    (110, 70, 40), (80, 48, 28), (40, 38, 40), (70, 70, 74), (130, 150, 170), (150, 110, 80), (60, 70, 90),
    (200, 200, 200), (50, 60, 110),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a person wears; colours are blue, green, red."""

    skin: Bgr
    hair: Bgr
    top: Bgr
    bottom: Bgr
    shoes: Bgr
    style: str
    bare_arms: bool
    bag: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Joints:
    """Where the joints are, metres in the model's frame; pairs are right, left."""

    head: Point
    neck: Point
    hips: Point
    elbows: tuple[Point, Point]
    hands: tuple[Point, Point]
    knees: tuple[Point, Point]
    feet: tuple[Point, Point]


def dress(dice: Dice) -> Look:
    """Draw clothes."""
    return Look(
        skin=dice.pick(SKINS),
        hair=dice.pick(HAIRS),
        top=dice.pick(TOPS),
        bottom=dice.pick(BOTTOMS),
        shoes=dice.pick(((30, 30, 32), (220, 220, 222), (40, 60, 100))),
        style=dice.pick(("trousers", "trousers", "trousers", "shorts", "skirt", "coat")),
        bare_arms=dice.chance(0.35),
        bag=dice.pick(("none", "none", "none", "rucksack", "handbag", "none")),
    )


def build_walker(dice: Dice) -> Model:
    """A person on foot over the origin, facing forward; one in eight is a child."""
    height = dice.between(1.0, 1.35) if dice.chance(0.12) else dice.between(1.55, 1.92)
    model = Model(footprint=rectangle(0.22, 0.24), height_m=height)
    joints = _walk(dice, height) if dice.chance(0.65) else _stand(dice, height)
    look = dress(dice)
    add_person(model, joints, look, girth=height * dice.between(0.92, 1.2))
    return model


def _walk(dice: Dice, height: float) -> Joints:
    stride = dice.between(0.45, 1.0) * (1 if dice.chance(0.5) else -1)
    hip, lean = 0.5 * height, 0.02 * height

    def leg(sway: float, side: float) -> tuple[Point, Point]:
        bend = 0.05 if sway > 0 else 0.02
        knee = (sway * 0.11 * height + bend * height, side * 0.055 * height, 0.27 * height)
        lift = 0.045 * height if sway < 0 else 0.0
        return knee, (sway * 0.2 * height, side * 0.055 * height, 0.02 * height + lift)

    def arm(sway: float, side: float) -> tuple[Point, Point]:
        elbow = (lean - sway * 0.09 * height, side * 0.155 * height, 0.63 * height)
        return elbow, (lean - sway * 0.13 * height + 0.05 * height, side * 0.15 * height, 0.49 * height)

    right_leg, left_leg = leg(stride, -1), leg(-stride, 1)
    right_arm, left_arm = arm(stride, -1), arm(-stride, 1)
    return Joints(
        head=(lean * 1.5, 0.0, 0.925 * height),
        neck=(lean, 0.0, 0.82 * height),
        hips=(0.0, 0.0, hip),
        elbows=(right_arm[0], left_arm[0]),
        hands=(right_arm[1], left_arm[1]),
        knees=(right_leg[0], left_leg[0]),
        feet=(right_leg[1], left_leg[1]),
    )


def _stand(dice: Dice, height: float) -> Joints:
    apart = dice.between(0.05, 0.1) * height
    raised = dice.between(0.0, 0.25) * height if dice.chance(0.4) else 0.0

    def hand(side: float, lift: float) -> Point:
        return (0.04 * height + lift * 0.5, side * (0.16 * height - lift * 0.25), 0.46 * height + lift)

    return Joints(
        head=(0.01 * height, 0.0, 0.925 * height),
        neck=(0.0, 0.0, 0.82 * height),
        hips=(0.0, 0.0, 0.5 * height),
        elbows=((0.0, -0.16 * height, 0.62 * height), (0.0, 0.16 * height, 0.62 * height)),
        hands=(hand(-1, raised), hand(1, 0.0)),
        knees=((0.01, -apart, 0.27 * height), (0.01, apart, 0.27 * height)),
        feet=((0.0, -apart, 0.02 * height), (0.0, apart, 0.02 * height)),
    )


def ride(seat: Point, bars: Point, pedals: Point, height: float, phase: int) -> Joints:
    """A rider's joints from where a bicycle's saddle, handlebar and pedal axle are."""
    turn_cos, turn_sin = direction(phase)
    reach = 0.17
    right = (pedals[0] + reach * turn_cos, -0.11, pedals[2] + reach * turn_sin)
    left = (pedals[0] - reach * turn_cos, 0.11, pedals[2] - reach * turn_sin)
    torso = 0.33 * height
    neck = (seat[0] + torso * 0.55, 0.0, seat[2] + torso * 0.86)

    def knee(foot: Point) -> Point:
        return ((seat[0] + foot[0]) / 2 + 0.2, foot[1], (seat[2] + foot[2]) / 2 + 0.08)

    def elbow(side: float) -> Point:
        return ((neck[0] + bars[0]) / 2 - 0.04, side * 0.24, (neck[2] + bars[2]) / 2 - 0.06)

    return Joints(
        head=(neck[0] + 0.1, 0.0, neck[2] + 0.11 * height),
        neck=neck,
        hips=(seat[0], 0.0, seat[2] + 0.06),
        elbows=(elbow(-1), elbow(1)),
        hands=((bars[0], -0.22, bars[2]), (bars[0], 0.22, bars[2])),
        knees=(knee(right), knee(left)),
        feet=(right, left),
    )


def add_person(model: Model, joints: Joints, look: Look, girth: float) -> None:
    """Paint a person onto a model: limbs, trunk, head and what they carry; girth scales widths, metres of height."""
    for side in (0, 1):
        _leg(model, joints, look, girth, side)
    if look.bag == "rucksack":
        back = (joints.neck[0] - 0.1 * girth, 0.0, joints.neck[2] - 0.08 * girth)
        model.tube((back, (back[0], 0.0, back[2] - 0.17 * girth)), 0.085 * girth, (60, 50, 90))
    _trunk(model, joints, look, girth)
    for side in (0, 1):
        _arm(model, joints, look, girth, side)
    _head(model, joints, look, girth)
    if look.bag == "handbag":
        hand = joints.hands[0]
        model.tube(
            ((hand[0] - 0.05, hand[1], hand[2] - 0.1), (hand[0] + 0.07, hand[1], hand[2] - 0.1)),
            0.06,
            (30, 50, 110),
        )


def _leg(model: Model, joints: Joints, look: Look, girth: float, side: int) -> None:
    spread = (-0.055, 0.055)[side] * girth
    hip = (joints.hips[0], joints.hips[1] + spread, joints.hips[2])
    knee, foot = joints.knees[side], joints.feet[side]
    shin = look.bottom if look.style in ("trousers", "coat") else look.skin
    model.tube((knee, foot), 0.037 * girth, shin)
    model.tube((hip, knee), 0.052 * girth, look.bottom if look.style != "skirt" else look.skin)
    model.tube((foot, (foot[0] + 0.085 * girth, foot[1], foot[2])), 0.03 * girth, look.shoes)


def _trunk(model: Model, joints: Joints, look: Look, girth: float) -> None:
    neck, hips = joints.neck, joints.hips
    if look.style in ("skirt", "coat"):
        hem = 0.24 * girth if look.style == "skirt" else 0.2 * girth
        colour = look.bottom if look.style == "skirt" else look.top
        low = hips[2] - hem
        for along in (-0.06 * girth, 0.06 * girth):
            model.face(((hips[0] + along, -0.09 * girth, hips[2]), (hips[0] + along, 0.09 * girth, hips[2]),
                        (hips[0] + along * 1.5, 0.125 * girth, low), (hips[0] + along * 1.5, -0.125 * girth, low)),
                       colour)  # fmt: skip
        model.tube(((hips[0], 0.0, hips[2]), (hips[0], 0.0, low + 0.07 * girth)), 0.075 * girth, colour)
    for across in (-0.055, 0.0, 0.055):
        shoulder = (neck[0], across * 1.25 * girth, neck[2] - 0.055 * girth)
        hip = (hips[0], across * girth, hips[2] + 0.02 * girth)
        model.tube((shoulder, hip), 0.062 * girth, look.top)
    model.tube((neck, (neck[0], 0.0, neck[2] - 0.03 * girth)), 0.035 * girth, look.skin)


def _arm(model: Model, joints: Joints, look: Look, girth: float, side: int) -> None:
    spread = (-0.115, 0.115)[side] * girth
    shoulder = (joints.neck[0], spread, joints.neck[2] - 0.04 * girth)
    elbow, hand = joints.elbows[side], joints.hands[side]
    model.tube((elbow, hand), 0.028 * girth, look.skin if look.bare_arms else look.top)
    sleeve = tuple(min(255, value * 9 // 10) for value in look.top)
    model.tube((shoulder, elbow), 0.036 * girth, (sleeve[0], sleeve[1], sleeve[2]))
    model.tube((hand,), 0.028 * girth, look.skin)


def _head(model: Model, joints: Joints, look: Look, girth: float) -> None:
    forward, left, up = joints.head
    radius = 0.068 * girth
    model.tube(((forward - radius * 0.3, left, up + radius * 0.25),), radius, look.hair)
    model.tube(((forward + radius * 0.12, left, up - radius * 0.2),), radius * 0.86, look.skin)
    model.tube(((forward - radius * 0.1, left - radius * 0.3, up + radius * 0.6),
                (forward - radius * 0.1, left + radius * 0.3, up + radius * 0.6)), radius * 0.55, look.hair)  # fmt: skip
