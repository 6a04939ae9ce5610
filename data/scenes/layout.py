"""The plan of a scene: what covers the ground where, how the camera looks at it, and the light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.scenes.camera import Camera, direction
from data.scenes.dice import Dice
from data.scenes.model import Light

Positions = NDArray[np.float32] | NDArray[np.float64]
Kind = Literal["avenue", "crossing", "plaza", "car park"]
Weather = Literal["clear", "overcast", "fog", "rain", "snow", "dusk", "night"]

PAVEMENT, ROAD, GRASS, PAINT, KERB = range(5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A plan of the ground; lengths in metres, ground frame.

    road: near and far edge across z (crossing), or left and right edge across x (avenue).
    walls_m: how far from the road's edge the buildings stand. far_m: how far away they stand where there is no road.
    """

    kind: Kind
    road: tuple[float, float]
    zebra_m: float
    walls_m: float
    far_m: float
    paving_m: float

    def open(self, x: float, z: float) -> bool:
        """Whether the position is on this side of the buildings."""
        left, right = self.road
        if self.kind == "avenue":
            return left - self.walls_m < x - 0.5 and x + 0.5 < right + self.walls_m
        return z + 0.5 < (right + self.walls_m if self.kind == "crossing" else self.far_m)

    def surface(self, x: Positions, z: Positions) -> NDArray[np.uint8]:
        """What covers the ground at each position; an array of the shape of `x` and `z`, metres."""
        if self.kind == "plaza":
            lawn = ((x + 400.0) % 31.0 < 9.0) & ((z + 400.0) % 37.0 < 11.0)
            return _either(lawn, GRASS, PAVEMENT)
        if self.kind == "car park":
            lines = ((x + 400.0) % 2.7 < 0.12) & ((z + 400.0) % 15.0 < 9.6)
            return _either(lines, PAINT, ROAD)
        across, along = (x, z) if self.kind == "avenue" else (z, x)
        return self._street(across, along)

    def _street(self, across: Positions, along: Positions) -> NDArray[np.uint8]:
        left, right = self.road
        middle = (left + right) / 2
        inside = (across > left) & (across < right)
        beside = (across > left - 0.25) & (across < right + 0.25)
        dashes = (np.abs(across - middle) < 0.09) & ((along + 400.0) % 6.0 < 3.0)
        stripes = (np.abs(along - self.zebra_m) < 1.8) & ((across + 400.0) % 1.1 < 0.55)
        lawn = (across < left - self.walls_m * 0.8) | (across > right + self.walls_m * 0.8)
        outside = np.where(beside, np.uint8(KERB), _either(lawn, GRASS, PAVEMENT))
        kinds: NDArray[np.uint8] = np.where(inside, _either(dashes | stripes, PAINT, ROAD), outside)
        return kinds


def _either(where: NDArray[np.bool_], yes: int, no: int) -> NDArray[np.uint8]:
    kinds: NDArray[np.uint8] = np.where(where, np.uint8(yes), np.uint8(no))
    return kinds


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything drawn before a thing is placed."""

    layout: Layout
    camera: Camera
    light: Light
    weather: Weather
    fog_m: float


def plan_scene(dice: Dice, size_hw: tuple[int, int]) -> Plan:
    """Draw the plan of a scene."""
    kind: Kind = dice.pick(("avenue", "avenue", "crossing", "crossing", "plaza", "car park"))
    weather: Weather = dice.pick(
        (
            "clear",
            "clear",
            "clear",
            "clear",
            "overcast",
            "overcast",
            "overcast",
            "fog",
            "rain",
            "snow",
            "dusk",
            "night",
        )
    )
    layout = _layout(dice, kind)
    fog = dice.between(30.0, 90.0) if weather == "fog" else dice.between(150.0, 600.0)
    return Plan(
        layout=layout,
        camera=_camera(dice, size_hw, kind),
        light=_light(dice, weather),
        weather=weather,
        fog_m=fog,
    )


def _layout(dice: Dice, kind: Kind) -> Layout:
    width = dice.between(6.0, 12.0)
    start = dice.between(-width - 3.0, 3.0) if kind == "avenue" else dice.between(6.0, 16.0)
    return Layout(
        kind=kind,
        road=(start, start + width),
        zebra_m=dice.between(6.0, 30.0) if kind == "avenue" else dice.between(-6.0, 6.0),
        walls_m=dice.between(4.0, 9.0),
        far_m=dice.between(45.0, 80.0),
        paving_m=dice.pick((0.5, 0.8, 1.2)),
    )


def _camera(dice: Dice, size_hw: tuple[int, int], kind: Kind) -> Camera:
    height = size_hw[0]
    mount = dice.pick(("eye", "eye", "mast", "mast", "roof"))
    metres = {"eye": (1.4, 2.2), "mast": (2.6, 5.0), "roof": (6.0, 11.0)}[mount]
    horizon = {"eye": (0.32, 0.5), "mast": (0.16, 0.36), "roof": (-0.15, 0.15)}[mount]
    swing = 40 if kind in ("plaza", "car park") else 14
    look_z, look_x = direction(dice.whole(-swing, swing))
    return Camera(
        size_hw=size_hw,
        focal_px=max(size_hw) * dice.between(0.75, 1.5),
        horizon_px=height * dice.between(*horizon),
        height_m=dice.between(*metres),
        look=(look_x, look_z),
    )


def _light(dice: Dice, weather: Weather) -> Light:
    east, north = direction(dice.whole(0, 255))
    low, high = direction(dice.whole(18, 48))
    ambient = dice.between(0.55, 0.7) if weather in ("clear", "dusk", "snow") else dice.between(0.75, 0.88)
    sunny = weather == "clear" or (weather in ("dusk", "snow") and dice.chance(0.5))
    return Light(sun=(east * low, high, north * low), ambient=ambient, casts_shadows=sunny)
