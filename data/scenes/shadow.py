"""Shadows on the ground: the sun's, stretched away from it, and the soft dark under everything that stands."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from data.scenes.camera import Points
from data.scenes.layout import Plan
from data.scenes.model import NEAREST_M, Model
from data.scenes.population import Thing
from data.scenes.sketch import SUBPIXEL_BITS, Image, as_image


def cast_shadows(image: Image, things: list[Thing], plan: Plan) -> None:
    """Darken the ground under and behind things, in place; image: (H, W, 3) BGR."""
    mask: Image = np.zeros(image.shape[:2], np.uint8)
    depth = 140 if plan.light.casts_shadows else 90
    for thing in things:
        for _class, model in thing.parts:
            outline = _outline(thing, model, plan)
            if outline is not None:
                cv2.fillConvexPoly(mask, outline, depth, cv2.LINE_AA, SUBPIXEL_BITS)
    if not plan.light.casts_shadows:
        mask = as_image(cv2.blur(mask, (5, 3)))
    light = (255 - mask.astype(np.int32))[:, :, None]
    image[:] = (image * light // 255).astype(np.uint8)


def _outline(thing: Thing, model: Model, plan: Plan) -> NDArray[np.int32] | None:
    """The shadow's outline in fixed-point pixels; None when it reaches behind the camera."""
    flat = np.zeros((len(model.footprint), 3), np.float64)
    flat[:, :2] = model.footprint
    ground = thing.pose.to_ground(flat)
    if plan.light.casts_shadows:
        ground = np.concatenate((ground, _thrown(ground, model.height_m, plan)))
    pixels, depth = plan.camera.project(ground)
    if depth.min() < NEAREST_M or np.abs(pixels).max() > 1 << 14:
        return None
    fixed = np.floor(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)
    return cv2.convexHull(fixed).astype(np.int32, copy=False)


def _thrown(ground: Points, height_m: float, plan: Plan) -> Points:
    """Where the footprint's upper end throws its shadow."""
    sun_x, sun_y, sun_z = plan.light.sun
    reach = 0.85 * height_m / max(sun_y, 0.2)
    thrown: Points = ground - np.array((sun_x * reach, 0.0, sun_z * reach))
    return thrown
