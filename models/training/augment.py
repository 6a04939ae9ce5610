"""Varies a training scene: scale, position, mirroring, exposure and tint; pixels are warped once, boxes with them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.scene_store import SIDE_PX, StoredScene

PADDING = 114
"""Grey of the border, as in a detector's letterbox."""

KEPT_SHARE = 0.4
"""A box of which the border leaves less than this share is dropped, as by the scenes' own rule."""
KEPT_PX = 4.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Variation:
    """How much a scene is varied.

    scale: smallest and largest factor.
    tone: share of the full range of exposure and tint.
    """

    scale: tuple[float, float]
    tone: float


WIDE = Variation(scale=(0.7, 1.4), tone=1.0)
CLOSING = Variation(scale=(0.9, 1.12), tone=0.4)


def vary(
    scene: StoredScene, side_px: int, random: np.random.Generator, variation: Variation = WIDE
) -> StoredScene:
    """Cut or place the scene at random on a square of `side_px`, boxes in its pixels.

    The scale does not follow the square's side: a smaller square is a cheaper piece of a scene whose objects are as
    large as the detector will meet them, not a scene of smaller objects.
    """
    height, width = scene.bgr.shape[:2]
    scale = float(np.exp(random.uniform(*np.log(variation.scale))))
    slack_x, slack_y = side_px - width * scale, side_px - height * scale
    shift_x, shift_y = random.uniform(0, 1, 2) * (slack_x, slack_y)
    mirror = bool(random.integers(2))
    # A pixel's centre is at +0.5 in box coordinates and at an integer in OpenCV.
    along = -scale if mirror else scale
    start = side_px - shift_x if mirror else shift_x
    warp = np.array(((along, 0, start + along / 2 - 0.5), (0, scale, shift_y + scale / 2 - 0.5)), np.float64)
    bgr = cv2.warpAffine(
        scene.bgr, warp, (side_px, side_px), flags=cv2.INTER_LINEAR, borderValue=(PADDING, PADDING, PADDING)
    )
    boxes = scene.boxes.copy()
    boxes[:, 1::2] = boxes[:, 1::2] * along + start
    boxes[:, 2::2] = boxes[:, 2::2] * scale + shift_y
    if mirror:
        boxes[:, [1, 3]] = boxes[:, [3, 1]]
    coloured = cv2.LUT(bgr, _curves(random, variation.tone)).astype(np.uint8, copy=False)
    return StoredScene(bgr=coloured, boxes=_inside(boxes, side_px))


def _curves(random: np.random.Generator, tone: float) -> NDArray[np.uint8]:
    """A random exposure and tint, (1, 256, 3)."""
    level = np.arange(256, dtype=np.float32)[:, None]
    gain = (1 + tone * random.uniform(-0.25, 0.25)) * (1 + tone * random.uniform(-0.07, 0.07, 3))
    lift = tone * random.uniform(-0.25, 0.25)
    curve = (level + lift * level * (255 - level) / 255) * gain
    return np.clip(curve, 0, 255).astype(np.uint8)[None]


def _inside(boxes: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """Clip boxes to the square and drop those of which little is left."""
    whole = (boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2])
    clipped = boxes.copy()
    clipped[:, 1:] = clipped[:, 1:].clip(0, side_px)
    left = (clipped[:, 3] - clipped[:, 1]) * (clipped[:, 4] - clipped[:, 2])
    return clipped[(left >= KEPT_SHARE * whole) & (left >= KEPT_PX * KEPT_PX)]


def centre(scene: StoredScene) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Place the scene in the middle of a grey square: (SIDE_PX, SIDE_PX, 3), and the position (x, y) of its corner."""
    height, width = scene.bgr.shape[:2]
    left, top = (SIDE_PX - width) // 2, (SIDE_PX - height) // 2
    square = np.full((SIDE_PX, SIDE_PX, 3), PADDING, np.uint8)
    square[top : top + height, left : left + width] = scene.bgr
    return square, (left, top)
