"""An image placed in the network's input as the network wants to see it, and the way back for boxes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import Normalisation, Placement


@dataclass(frozen=True, kw_only=True, slots=True)
class Letterbox:
    """Where an image lies in the network's input, in the whole pixels really used.

    source_hw: the image's size; resized_hw: its size in the input; top, left: its first row and column there.
    The scale of each axis is resized / source, which rounding makes differ slightly between the two.
    """

    source_hw: tuple[int, int]
    input_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    top: int
    left: int

    def __post_init__(self) -> None:
        if min(*self.source_hw, *self.resized_hw) < 1:
            raise ValueError(f"sizes must be at least 1 pixel, got {self.source_hw} and {self.resized_hw}")
        bottom, right = self.top + self.resized_hw[0], self.left + self.resized_hw[1]
        if min(self.top, self.left) < 0 or bottom > self.input_hw[0] or right > self.input_hw[1]:
            raise ValueError(f"the image must lie inside the input {self.input_hw}, got {self}")

    @classmethod
    def fit(
        cls, source_hw: tuple[int, int], input_hw: tuple[int, int], placement: Placement = "centre"
    ) -> Letterbox:
        """The largest placement that keeps the aspect ratio, or the whole input; enlarges small images too."""
        if placement == "stretch":
            return cls.place(source_hw, input_hw, input_hw, placement)
        ratio = min(input_hw[0] / source_hw[0], input_hw[1] / source_hw[1])
        height, width = (max(1, round(side * ratio)) for side in source_hw)
        return cls.place(source_hw, input_hw, (height, width), placement)

    @classmethod
    def place(
        cls,
        source_hw: tuple[int, int],
        input_hw: tuple[int, int],
        resized_hw: tuple[int, int],
        placement: Placement,
    ) -> Letterbox:
        """An image of a given size in the input; centred, an odd pixel of border goes to the bottom and the right."""
        is_centred = placement == "centre"
        return cls(
            source_hw=source_hw,
            input_hw=input_hw,
            resized_hw=resized_hw,
            top=(input_hw[0] - resized_hw[0]) // 2 if is_centred else 0,
            left=(input_hw[1] - resized_hw[1]) // 2 if is_centred else 0,
        )

    @property
    def scale_yx(self) -> tuple[float, float]:
        """Input pixels for one source pixel, vertically and horizontally."""
        return self.resized_hw[0] / self.source_hw[0], self.resized_hw[1] / self.source_hw[1]

    def to_input(self, xyxy_source: NDArray[np.floating]) -> NDArray[np.float64]:
        """Boxes (N, 4) from source pixels to input pixels."""
        scale, offset = self._scale_and_offset()
        return np.asarray(xyxy_source, np.float64) * scale + offset

    def to_source(self, xyxy_input: NDArray[np.floating]) -> NDArray[np.float32]:
        """Boxes (N, 4) from input pixels to source pixels, clipped to the image."""
        scale, offset = self._scale_and_offset()
        height, width = self.source_hw
        boxes = (np.asarray(xyxy_input, np.float64) - offset) / scale
        # np.clip, which says the same, costs several times as much for few boxes.
        edges = np.array((width, height, width, height), np.float64)
        return np.minimum(np.maximum(boxes, 0.0), edges).astype(np.float32)

    def _scale_and_offset(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scale_y, scale_x = self.scale_yx
        return (
            np.array((scale_x, scale_y, scale_x, scale_y)),
            np.array((self.left, self.top, self.left, self.top), np.float64),
        )


class InputWriter:
    """Writes letterboxed, normalised images into float32 (3, H, W) inputs; one for each thread.

    A pixel has 256 values, so normalisation is a table a channel: exact, and faster than arithmetic on floats.
    """

    def __init__(self, normalisation: Normalisation, input_hw: tuple[int, int]) -> None:
        values = np.arange(256, dtype=np.float64)
        self._tables = [
            ((values - mean) * scale).astype(np.float32)
            for mean, scale in zip(normalisation.mean, normalisation.scale, strict=True)
        ]
        self._grey = np.array([table[normalisation.padding] for table in self._tables]).reshape(3, 1, 1)
        self._channels = (2, 1, 0) if normalisation.channels == "rgb" else (0, 1, 2)
        self._pixels = np.empty(input_hw[0] * input_hw[1] * 3, np.uint8)
        self._planes = np.empty(input_hw[0] * input_hw[1] * 3, np.uint8)

    def write(
        self,
        bgr: NDArray[np.uint8],
        letterbox: Letterbox,
        target: NDArray[np.float32],
        previous: Letterbox | None,
    ) -> None:
        """Fill `target` (3, H, W) with the image; `previous` is the letterbox whose image it held until now.

        `bgr` may be a reduced version of the source: it is scaled to the letterbox's resized_hw in any case.
        """
        height, width = letterbox.resized_hw
        rows = slice(letterbox.top, letterbox.top + height)
        columns = slice(letterbox.left, letterbox.left + width)
        if previous is None or _place(previous) != _place(letterbox):
            for border in (np.s_[: rows.start], np.s_[rows.stop :]):
                target[:, border] = self._grey
            for border in (np.s_[: columns.start], np.s_[columns.stop :]):
                target[:, rows, border] = self._grey
        planes = self._planes[: height * width * 3].reshape(3, height, width)
        cv2.split(self._resize(bgr, height, width), [planes[0], planes[1], planes[2]])
        for channel, (source, table) in enumerate(zip(self._channels, self._tables, strict=True)):
            cv2.LUT(planes[source], table, dst=target[channel, rows, columns])

    def _resize(self, bgr: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        if bgr.shape[:2] == (height, width):
            return bgr
        pixels = self._pixels[: height * width * 3].reshape(height, width, 3)
        cv2.resize(bgr, (width, height), dst=pixels, interpolation=cv2.INTER_LINEAR)
        return pixels


def _place(letterbox: Letterbox) -> tuple[tuple[int, int], int, int]:
    return letterbox.resized_hw, letterbox.top, letterbox.left
