"""Sky and ground: textures in true perspective, road markings, haze with distance."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from data.scenes.camera import Camera
from data.scenes.dice import Dice
from data.scenes.layout import GRASS, KERB, PAINT, PAVEMENT, ROAD, Plan, Weather
from data.scenes.sketch import Bgr, Image, as_image

SKIES: dict[Weather, tuple[Bgr, Bgr]] = {
    "clear": ((210, 150, 90), (235, 215, 190)),
    "overcast": ((190, 185, 180), (215, 212, 208)),
    "fog": ((205, 205, 202), (212, 212, 210)),
    "rain": ((140, 134, 128), (175, 170, 165)),
    "snow": ((200, 195, 190), (222, 220, 216)),
    "dusk": ((150, 90, 70), (110, 160, 235)),
    "night": ((70, 46, 36), (95, 80, 70)),
}
SNOW: Bgr = (232, 228, 224)


def haze_colour(weather: Weather) -> Bgr:
    """The colour that distant things fade into."""
    return SKIES[weather][1]


def haze_share(depth_m: float, fog_m: float) -> float:
    """How much of the haze's colour a thing at this depth takes on, 0 to 1."""
    away = depth_m / fog_m
    return min(0.72, away / (1.0 + away))


def smooth_noise(dice: Dice, size_hw: tuple[int, int], cells_hw: tuple[int, int]) -> Image:
    """(H, W) noise that varies over H / cells pixels."""
    coarse = dice.bytes(*cells_hw)
    return as_image(cv2.resize(coarse, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR_EXACT))


def paint_background(plan: Plan, dice: Dice) -> Image:
    """(H, W, 3) sky and ground without anything standing on it."""
    height, width = plan.camera.size_hw
    image: Image = np.empty((height, width, 3), np.uint8)
    split = min(max(int(plan.camera.horizon_px) + 1, 0), height)
    if split > 0:
        image[:split] = _sky(plan, dice, split)
    image[split:] = _ground(plan, dice, split)
    return image


def _sky(plan: Plan, dice: Dice, rows: int) -> Image:
    width = plan.camera.size_hw[1]
    top, low = (np.array(colour, np.int32) for colour in SKIES[plan.weather])
    share = ((np.arange(rows, dtype=np.int32) * 256) // max(rows, 1))[:, None, None]
    sky = np.broadcast_to((top * (256 - share) + low * share) >> 8, (rows, width, 3))
    if plan.weather in ("fog", "night"):
        return sky.astype(np.uint8)
    clouds = smooth_noise(dice, (rows, width), (5, 7)).astype(np.int32) + (
        smooth_noise(dice, (rows, width), (14, 18)) >> 1
    )
    cover = np.clip(clouds - 170, 0, 120)[:, :, None]
    clouded: Image = ((sky * (256 - cover) + 236 * cover) >> 8).astype(np.uint8)
    return clouded


def _materials(plan: Plan, dice: Dice) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Colour and roughness of every surface, in the order of layout's constants."""
    tone = dice.whole(-14, 22)
    colours: dict[int, Bgr] = {
        PAVEMENT: dice.pick(
            ((150, 156, 160), (130, 150, 170), (120, 128, 140), (165, 165, 162), (96, 118, 150))
        ),
        ROAD: dice.pick(((84, 82, 80), (104, 102, 100), (70, 70, 72))),
        GRASS: dice.pick(((50, 110, 80), (44, 88, 70), (66, 130, 110))),
        PAINT: dice.pick(((205, 208, 208), (180, 186, 186))),
        KERB: (165, 168, 170),
    }
    rough = {PAVEMENT: 26, ROAD: 24, GRASS: 38, PAINT: 22, KERB: 18}
    if plan.weather == "snow":
        for kind in (PAVEMENT, GRASS, KERB):
            colours[kind], rough[kind] = SNOW, 16
    table = np.array([colours[kind] for kind in range(5)], np.int16)
    if plan.weather != "snow":
        table += np.int16(tone)
    return np.clip(table, 0, 255).astype(np.int16), np.array([rough[kind] for kind in range(5)], np.int16)


def _ground_positions(
    camera: Camera, first_row: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Ground x, ground z and depth of each pixel below the horizon, metres."""
    height, width = camera.size_hw
    rows = np.arange(first_row, height, dtype=np.float64) + 0.5 - camera.horizon_px
    depth = camera.focal_px * camera.height_m / np.maximum(rows, 0.3)
    right = (np.arange(width, dtype=np.float64)[None] + 0.5 - camera.centre_px) * (depth / camera.focal_px)[
        :, None
    ]
    away = np.broadcast_to(depth[:, None], right.shape)
    x, z = camera.ground(right, away)
    return x.astype(np.float32), z.astype(np.float32), depth.astype(np.float32)


def _ground(plan: Plan, dice: Dice, first_row: int) -> Image:
    x, z, depth = _ground_positions(plan.camera, first_row)
    surface = plan.layout.surface(x, z)
    colours, roughness = _materials(plan, dice)
    nearness = np.minimum(1.0, 14.0 / depth).astype(np.float32)[:, None]
    fine = dice.bytes(256, 256)
    grain = fine[(x * 23).astype(np.int32) & 255, (z * 23).astype(np.int32) & 255].astype(np.int16) - 128
    blotch = smooth_noise(dice, (256, 256), (40, 40))
    patch = blotch[(x * 9).astype(np.int32) & 255, (z * 9).astype(np.int32) & 255].astype(np.int16) - 128
    texture = ((grain * nearness).astype(np.int16) + patch) * roughness[surface] >> 7
    if plan.layout.kind != "car park" and plan.weather != "snow":
        texture -= _joints(plan, surface, x, z, nearness)
    shaded = np.clip(colours[surface] + texture[:, :, None], 0, 255)
    return _hazed(shaded, plan, depth)


def _joints(
    plan: Plan,
    surface: NDArray[np.uint8],
    x: NDArray[np.float32],
    z: NDArray[np.float32],
    nearness: NDArray[np.float32],
) -> NDArray[np.int16]:
    """Darkening of the gaps between paving slabs."""
    size = np.float32(plan.layout.paving_m)
    gap = ((x + 400) % size < 0.04) | ((z + 400) % size < 0.04)
    darker: NDArray[np.int16] = ((gap & (surface == PAVEMENT)) * (nearness * 34)).astype(np.int16)
    return darker


def _hazed(colours: NDArray[np.int16], plan: Plan, depth: NDArray[np.float32]) -> Image:
    away = depth / np.float32(plan.fog_m)
    share = (np.minimum(0.85, away / (1 + away)) * 256).astype(np.int32)[:, None, None]
    haze = np.array(haze_colour(plan.weather), np.int32)
    hazed: Image = ((colours * (256 - share) + haze * share) >> 8).astype(np.uint8)
    return hazed
