"""Series of scenes: numbered pictures of mixed sizes, whose seeds never coincide with another series'."""

from __future__ import annotations

from dataclasses import dataclass

from data.scenes.dice import Dice
from data.scenes.render import Scene, encode_jpeg, render_scene

SIZES_HW = (
    (416, 416), (312, 416), (360, 640), (480, 640), (416, 312), (384, 512), (512, 384), (360, 480), (270, 480),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A family of scenes.

    stream: its number, which no other series has.
    quality: range of the JPEGs' quality.
    """

    stream: int
    quality: tuple[int, int]

    def scene(self, number: int) -> Scene:
        """The series' scene of this number, in the size that belongs to the number."""
        return render_scene(number, SIZES_HW[number % len(SIZES_HW)], self.stream)

    def jpeg(self, number: int, scene: Scene) -> bytes:
        """The scene as a JPEG file, in the quality that belongs to the number."""
        return encode_jpeg(scene.bgr, Dice(self.stream, number, 1).whole(*self.quality))


SAMPLE = Series(stream=1, quality=(55, 92))
TRAINING = Series(stream=2, quality=(50, 95))
HELD_OUT = Series(stream=3, quality=(55, 92))
