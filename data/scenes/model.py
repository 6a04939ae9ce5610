"""A thing in three dimensions: faces, tubes and balls in painting order, and its picture in a camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from data.scenes.camera import Camera, Points, Pose
from data.scenes.sketch import Bgr, Shape, Sketch

Point = tuple[float, float, float]
NEAREST_M = 0.6


@dataclass(frozen=True, kw_only=True, slots=True)
class Light:
    """The scene's light: towards the sun (ground frame, unit), its share of all light, and whether shadows have edges."""

    sun: Point
    ambient: float
    casts_shadows: bool


@dataclass(frozen=True, slots=True)
class _Part:
    first: int
    last: int
    colour: Bgr
    radius_m: float
    inside: Point | None
    coverage: int


@dataclass(slots=True)
class Model:
    """Parts in the model's frame (forward, left, up), metres; later parts are painted over earlier ones.

    footprint: (K, 2) outline on the ground, for the shadow. height_m: how high it stands, for the shadow.
    """

    footprint: Points
    height_m: float
    _points: list[Point] = field(default_factory=list)
    _parts: list[_Part] = field(default_factory=list)

    def _add(
        self, points: Sequence[Point], colour: Bgr, radius: float, inside: Point | None, coverage: int
    ) -> None:
        first = len(self._points)
        self._points.extend(points)
        self._parts.append(_Part(first, len(self._points), colour, radius, inside, coverage))

    def face(
        self, points: Sequence[Point], colour: Bgr, inside: Point | None = None, coverage: int = 255
    ) -> None:
        """A flat polygon; with a point inside the solid it is seen from outside only, and shaded by the sun."""
        self._add(points, colour, 0.0, inside, coverage)

    def tube(self, points: Sequence[Point], radius_m: float, colour: Bgr) -> None:
        """A bent tube with round ends; a single point is a ball."""
        self._add(points, colour, radius_m, None, 255)

    def sketch(self, pose: Pose, camera: Camera, light: Light) -> Sketch:
        """Its shapes in the camera's picture; empty when any of it is at or behind the camera."""
        ground = pose.to_ground(np.array(self._points, np.float64))
        pixels, depth = camera.project(ground)
        if depth.min() < NEAREST_M:
            return Sketch()
        brightness = self._brightness(pose, ground, camera, light)
        scale = camera.focal_px / float(depth.mean())
        shapes = []
        for part, bright in zip(self._parts, brightness, strict=True):
            if bright > 0:
                width = max(part.radius_m * 2 * scale, 0.7) if part.radius_m else 0.0
                points = pixels[part.first : part.last]
                shapes.append(Shape(points, _lit(part.colour, bright), width, part.coverage))
        return Sketch(shapes)

    def _brightness(self, pose: Pose, ground: Points, camera: Camera, light: Light) -> list[float]:
        """How bright each part is; 0 for a face turned away."""
        first = np.array([part.first for part in self._parts])
        flat = np.array([part.inside is not None for part in self._parts])
        local_inside = np.array([part.inside or (0.0, 0.0, 0.0) for part in self._parts], np.float64)
        second = np.where(flat, first + 1, first)
        third = np.where(flat, first + 2, first)
        corner, a, b = ground[first], ground[second] - ground[first], ground[third] - ground[first]
        normal = np.stack(
            (
                a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1],
                a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2],
                a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0],
            ),
            1,
        )
        outwards = _dot(normal, corner - pose.to_ground(local_inside))
        normal *= np.where(outwards < 0, -1.0, 1.0)[:, None]
        length = np.sqrt(np.maximum(_dot(normal, normal), 1e-12))
        towards_camera = _dot(normal, np.array((0.0, camera.height_m, 0.0)) - corner)
        sunlit = np.maximum(_dot(normal, np.array(light.sun)) / length, 0.0)
        bright = np.where(flat, light.ambient + (1.1 - light.ambient) * sunlit, 0.55 + 0.45 * light.ambient)
        return [float(value) for value in np.where(flat & (towards_camera <= 0), 0.0, bright)]


def _dot(a: Points, b: Points) -> Points:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _lit(colour: Bgr, bright: float) -> Bgr:
    blue, green, red = (min(255, int(value * bright + 0.5)) for value in colour)
    return blue, green, red


def add_box(model: Model, corner: Point, opposite: Point, colour: Bgr, top: Bgr | None = None) -> None:
    """Five outer faces of an upright box, given by two opposite corners."""
    (f0, l0, u0), (f1, l1, u1) = corner, opposite
    inside = ((f0 + f1) / 2, (l0 + l1) / 2, (u0 + u1) / 2)
    model.face(((f0, l0, u0), (f1, l0, u0), (f1, l0, u1), (f0, l0, u1)), colour, inside)
    model.face(((f0, l1, u0), (f1, l1, u0), (f1, l1, u1), (f0, l1, u1)), colour, inside)
    model.face(((f0, l0, u0), (f0, l1, u0), (f0, l1, u1), (f0, l0, u1)), colour, inside)
    model.face(((f1, l0, u0), (f1, l1, u0), (f1, l1, u1), (f1, l0, u1)), colour, inside)
    model.face(((f0, l0, u1), (f1, l0, u1), (f1, l1, u1), (f0, l1, u1)), top or colour, inside)


def rectangle(half_forward: float, half_left: float) -> Points:
    """A rectangular footprint around the origin: (4, 2) corners, forward and left, metres."""
    return np.array(
        (
            (half_forward, half_left),
            (half_forward, -half_left),
            (-half_forward, -half_left),
            (-half_forward, half_left),
        ),
        np.float64,
    )
