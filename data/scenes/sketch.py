"""Drawing one thing: flat shapes in pixels, drawn enlarged and shrunk again, so that coverage is known per pixel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data.scenes.camera import Points

Bgr = tuple[int, int, int]
Image = NDArray[np.uint8]

SUBPIXEL_BITS = 4
SEE_THROUGH = 72
"""Coverage (of 255) of a wheel's spokes and of other half-open surfaces."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sprite:
    """A drawn thing: (h, w, 4) blue, green, red times coverage, and coverage; where its corner lies in the image."""

    pixels: Image
    left: int
    top: int

    @property
    def coverage(self) -> Image:
        """(h, w) coverage, 0 to 255."""
        return self.pixels[:, :, 3]


@dataclass(frozen=True, slots=True)
class Shape:
    """A polygon (width 0) or a thick line with round ends (width in pixels), its (K, 2) points in image pixels."""

    points: Points
    colour: Bgr
    width_px: float = 0.0
    coverage: int = 255


def as_image(array: NDArray[Any]) -> Image:
    """Cast an array that OpenCV made of bytes, which its annotations call an array of any number."""
    return array.astype(np.uint8, copy=False)


def _scaled(shapes: list[Shape], factor: int, left: int, top: int) -> list[NDArray[np.int32]]:
    """Each shape's points in fixed-point pixels of the enlarged drawing."""
    scale = factor << SUBPIXEL_BITS
    # A pixel's centre is at +0.5 in the scene and at an integer in OpenCV.
    points = np.concatenate([shape.points for shape in shapes])
    fixed = (points - np.array((left, top), np.float64)) * scale - (1 << (SUBPIXEL_BITS - 1))
    whole = np.floor(fixed + 0.5).astype(np.int32)
    ends = np.cumsum([len(shape.points) for shape in shapes])
    return [whole[end - len(shape.points) : end] for shape, end in zip(shapes, ends.tolist(), strict=True)]


@dataclass(slots=True)
class Sketch:
    """Shapes in painting order, later ones over earlier ones."""

    shapes: list[Shape] = field(default_factory=list)

    def bounds(self) -> tuple[float, float, float, float] | None:
        """Left, top, right, bottom over all shapes, pixels; None when there are none."""
        if not self.shapes:
            return None
        points = np.concatenate([shape.points for shape in self.shapes])
        margin = max(shape.width_px for shape in self.shapes) / 2 + 1.0
        left, top = (float(value) for value in points.min(0) - margin)
        right, bottom = (float(value) for value in points.max(0) + margin)
        return left, top, right, bottom

    def rasterise(self, size_hw: tuple[int, int]) -> Sprite | None:
        """Draw the shapes; None when nothing of them is near the image.

        The sprite reaches half an image beyond the border, so that what the border hides can be counted.
        """
        bounds = self.bounds()
        if bounds is None:
            return None
        height, width = size_hw
        left, top = max(int(bounds[0]) - 1, -width // 2), max(int(bounds[1]) - 1, -height // 2)
        right, bottom = min(int(bounds[2]) + 2, width * 3 // 2), min(int(bounds[3]) + 2, height * 3 // 2)
        if right <= left or bottom <= top or right <= 0 or bottom <= 0 or left >= width or top >= height:
            return None
        longest = max(right - left, bottom - top)
        factor = 8 if longest <= 40 else 4 if longest <= 120 else 2
        enlarged: Image = np.zeros(((bottom - top) * factor, (right - left) * factor, 4), np.uint8)
        for shape, points in zip(self.shapes, _scaled(self.shapes, factor, left, top), strict=True):
            _draw(enlarged, shape, points, factor)
        # A whole factor and a power of two: OpenCV's area mean is then exact.
        shrunk = cv2.resize(enlarged, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        return Sprite(pixels=as_image(shrunk), left=left, top=top)

    def paint(self, image: Image) -> None:
        """Draw straight onto an image, (H, W, 3) BGR: for the background, whose coverage is not needed."""
        if not self.shapes:
            return
        for shape, points in zip(self.shapes, _scaled(self.shapes, 1, 0, 0), strict=True):
            if np.abs(points).max() < 1 << 20:
                cv2.fillPoly(image, [points], shape.colour, cv2.LINE_AA, SUBPIXEL_BITS)


def _draw(target: Image, shape: Shape, points: NDArray[np.int32], factor: int) -> None:
    alpha = shape.coverage
    blue, green, red = shape.colour
    colour = (blue * alpha // 255, green * alpha // 255, red * alpha // 255, alpha)
    if shape.width_px <= 0:
        cv2.fillPoly(target, [points], colour, cv2.LINE_8, SUBPIXEL_BITS)
    elif len(points) == 1:
        radius = int(shape.width_px * (factor << SUBPIXEL_BITS) / 2 + 0.5)
        centre = (int(points[0, 0]), int(points[0, 1]))
        cv2.circle(target, centre, radius, colour, cv2.FILLED, cv2.LINE_8, SUBPIXEL_BITS)
    else:
        thickness = max(1, int(shape.width_px * factor + 0.5))
        cv2.polylines(
            target, [points], isClosed=False, color=colour, thickness=thickness, shift=SUBPIXEL_BITS
        )
