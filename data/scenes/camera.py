"""The camera of a scene, and how things stand on the ground in front of it.

Frames: the ground frame has x to the right, y up, z away, in metres; the camera stands at x = z = 0, `height_m` up,
and looks along a direction of the ground plane. A model's own frame is (forward, left, up).
Arithmetic is by element in float64, never by matrix product, whose order of additions differs between machines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

STEPS_PER_TURN = 256


def direction(step: int) -> tuple[float, float]:
    """Cosine and sine of step/256 of a turn, rounded to 2^-16 so that every C library agrees."""
    angle = 2.0 * math.pi * (step % STEPS_PER_TURN) / STEPS_PER_TURN
    return round(math.cos(angle) * 65536) / 65536, round(math.sin(angle) * 65536) / 65536


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """Where a thing stands and where it faces: ground position in metres, unit heading (x, z)."""

    x_m: float
    z_m: float
    heading: tuple[float, float]

    def to_ground(self, local: Points) -> Points:
        """(K, 3) points of the model's frame (forward, left, up) → (K, 3) of the ground frame (x, y, z)."""
        forward, left = local[:, 0], local[:, 1]
        cosine, sine = self.heading
        return np.stack(
            (
                self.x_m + forward * cosine - left * sine,
                local[:, 2],
                self.z_m + forward * sine + left * cosine,
            ),
            1,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A pinhole with a shifted lens: verticals stay vertical, the horizon lies at a chosen height.

    look: the direction it faces in the ground frame, unit vector (x, z).
    """

    size_hw: tuple[int, int]
    focal_px: float
    horizon_px: float
    height_m: float
    look: tuple[float, float]

    @property
    def centre_px(self) -> float:
        """The column it looks along."""
        return self.size_hw[1] / 2

    def view(self, ground_x: Points, ground_z: Points) -> tuple[Points, Points]:
        """Ground positions, arrays of one shape → metres to the right of the camera and metres away from it, as such."""
        along_x, along_z = self.look
        return ground_x * along_z - ground_z * along_x, ground_x * along_x + ground_z * along_z

    def ground(self, right: Points, away: Points) -> tuple[Points, Points]:
        """Inverse of `view`: metres to the right and away → ground x and z, arrays of the same shape."""
        along_x, along_z = self.look
        return right * along_z + away * along_x, away * along_z - right * along_x

    def project(self, points: Points) -> tuple[Points, Points]:
        """(K, 3) ground-frame points → (K, 2) column and row in pixels, and (K,) depth in metres.

        Only meaningful where depth is positive.
        """
        right, away = self.view(points[:, 0], points[:, 2])
        safe = np.maximum(away, 0.05)
        column = self.centre_px + self.focal_px * right / safe
        row = self.horizon_px + self.focal_px * (self.height_m - points[:, 1]) / safe
        return np.stack((column, row), 1), away
