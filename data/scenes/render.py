"""A scene from its seed: pixels, exact boxes, classes.

The rules of what is labelled, fixed for good:
- A box is the smallest rectangle around the pixels of a thing that the picture really shows.
- A thing is in the picture only when at least VISIBLE_SHARE of its outline is seen, neither hidden by nearer things
  nor cut off by the border, and when its box is at least SMALLEST_PX in size (root of its area, the picture's longer
  side scaled to 416). Otherwise it is not drawn at all: nothing seen is ever left without its label.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.scenes.dice import Dice
from data.scenes.ground import haze_colour, haze_share, paint_background
from data.scenes.layout import Plan, plan_scene
from data.scenes.population import NO_CLASS, REFERENCE_PX, Thing, populate
from data.scenes.props import place_buildings
from data.scenes.shadow import cast_shadows
from data.scenes.sketch import Image, Sprite
from data.scenes.weather import apply_weather

CLASS_NAMES = ("car", "person", "bike")
VISIBLE_SHARE = 0.4
SMALLEST_PX = 6.0
SEEN_COVERAGE = 96
"""A pixel shows a thing when the thing covers at least this much of it (of 255)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A rendered picture and its truth.

    bgr: (H, W, 3) uint8.
    xyxy: (N, 4) left, top, right, bottom in pixels, right and bottom exclusive.
    class_id: (N,).
    """

    bgr: Image
    xyxy: NDArray[np.int32]
    class_id: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Drawn:
    sprite: Sprite
    class_id: int
    depth_m: float
    box: tuple[int, int, int, int] | None


def render_scene(seed: int, size_hw: tuple[int, int], stream: int = 0) -> Scene:
    """Render the scene of a seed at a size; `stream` sets whole families of seeds apart."""
    dice = Dice(stream, seed, *size_hw)
    plan = plan_scene(dice, size_hw)
    image = paint_background(plan, dice)
    for model, pose in place_buildings(plan, dice):
        model.sketch(pose, plan.camera, plan.light).paint(image)
    things = populate(plan, dice)
    drawn = _front_to_back(things, plan)
    cast_shadows(image, things, plan)
    for item in reversed(drawn):
        _composite(image, item, plan)
    image = apply_weather(image, plan, dice)
    labelled = [item for item in drawn if item.box is not None]
    return Scene(
        bgr=image,
        xyxy=np.array([item.box for item in labelled], np.int32).reshape(-1, 4),
        class_id=np.array([item.class_id for item in labelled], np.int32),
    )


def _front_to_back(things: list[Thing], plan: Plan) -> list[_Drawn]:
    """Keep what the rules let into the picture, nearest first, with the boxes of what is seen of it."""
    taken = np.zeros(plan.camera.size_hw, np.bool_)
    kept = []
    for thing in reversed(things):
        for class_id, model in reversed(thing.parts):
            sprite = model.sketch(thing.pose, plan.camera, plan.light).rasterise(plan.camera.size_hw)
            if sprite is None:
                continue
            box = _visible_box(sprite, taken)
            if class_id != NO_CLASS and box is None:
                continue
            kept.append(_Drawn(sprite, class_id, thing.depth_m, box if class_id != NO_CLASS else None))
            rows, columns, own = _inside(sprite, plan.camera.size_hw)
            taken[rows, columns] |= sprite.coverage[own] >= SEEN_COVERAGE
    return kept


def _inside(sprite: Sprite, size_hw: tuple[int, int]) -> tuple[slice, slice, tuple[slice, slice]]:
    """The image's rows and columns under a sprite, and the sprite's own slices there."""
    height, width = sprite.coverage.shape
    top, left = max(sprite.top, 0), max(sprite.left, 0)
    bottom, right = min(sprite.top + height, size_hw[0]), min(sprite.left + width, size_hw[1])
    rows, columns = slice(top, max(bottom, top)), slice(left, max(right, left))
    own = (
        slice(top - sprite.top, rows.stop - sprite.top),
        slice(left - sprite.left, columns.stop - sprite.left),
    )
    return rows, columns, own


def _visible_box(sprite: Sprite, taken: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """The box of what is seen of a sprite; None when the rules keep it out of the picture."""
    rows, columns, own = _inside(sprite, (taken.shape[0], taken.shape[1]))
    whole = sprite.coverage >= SEEN_COVERAGE
    seen = whole[own] & ~taken[rows, columns]
    count = int(np.count_nonzero(seen))
    if count < VISIBLE_SHARE * max(int(np.count_nonzero(whole)), 1):
        return None
    across, down = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
    box = (
        columns.start + int(across[0]),
        rows.start + int(down[0]),
        columns.start + int(across[-1]) + 1,
        rows.start + int(down[-1]) + 1,
    )
    smallest = SMALLEST_PX * max(taken.shape) / REFERENCE_PX
    return box if (box[2] - box[0]) * (box[3] - box[1]) >= smallest * smallest else None


def _composite(image: Image, item: _Drawn, plan: Plan) -> None:
    rows, columns, own = _inside(item.sprite, plan.camera.size_hw)
    pixels = item.sprite.pixels[own].astype(np.int32)
    coverage = pixels[:, :, 3:]
    share = int(haze_share(item.depth_m, plan.fog_m) * 256)
    haze = np.array(haze_colour(plan.weather), np.int32)
    colour = (pixels[:, :, :3] * (256 - share) + (haze * coverage * share) // 255) >> 8
    image[rows, columns] = np.clip(colour + image[rows, columns] * (255 - coverage) // 255, 0, 255)


def encode_jpeg(image: Image, quality: int) -> bytes:
    """Encode a picture, (H, W, 3) BGR, as a JPEG file; raises ValueError if OpenCV cannot."""
    done, buffer = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape} as JPEG")
    return buffer.tobytes()
