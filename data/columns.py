"""Ground truth and detections of a whole image set, as columns: the input of mAP and of conversions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Sizes = Mapping[str, tuple[int, int] | None]
"""image id → height and width in source pixels, None if unknown; in the order of the images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroundTruth:
    """The true objects on N images, M in all.

    class_names: position = class id; None when neither the truth nor the caller names the classes.
    image_ids: (N,) the requested images that the truth covers; `box_image` and `Scored.image`
        are positions in it.
    box_image: (M,) int32.
    class_id: (M,) int32.
    xyxy: (M, 4) float64 source pixels.
    crowd: (M,) bool, a region of many objects.
    area: (M,) float64 square pixels.
    unmatched: label files, or images of the JSON, that belong to none of the requested images.
    unlisted: requested images that a COCO JSON does not list: their objects are unknown, so they are not scored.

    Raises ValueError if shapes differ or positions are out of range.
    """

    class_names: tuple[str, ...] | None
    image_ids: tuple[str, ...]
    box_image: NDArray[np.int32]
    class_id: NDArray[np.int32]
    xyxy: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]
    unmatched: int = 0
    unlisted: int = 0

    def __post_init__(self) -> None:
        count = len(self.xyxy)
        if self.xyxy.shape != (count, 4):
            raise ValueError(f"xyxy must have shape (M, 4), got {self.xyxy.shape}")
        for name in ("box_image", "class_id", "crowd", "area"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"{name} must have shape ({count},), got {getattr(self, name).shape}")
        _check_positions("box_image", self.box_image, len(self.image_ids))
        _check_positions(
            "class_id", self.class_id, None if self.class_names is None else len(self.class_names)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """Detections of a set of images, M in all, each image's best first.

    image: (M,) int32 position in `GroundTruth.image_ids`.
    class_id: (M,) int32.
    confidence: (M,) float32 in 0..1.
    xyxy: (M, 4) float32 source pixels.

    Raises ValueError if a shape or type differs, or a number is not finite.
    """

    image: NDArray[np.int32]
    class_id: NDArray[np.int32]
    confidence: NDArray[np.float32]
    xyxy: NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.image)
        if self.xyxy.shape != (count, 4) or self.xyxy.dtype != np.float32:
            raise ValueError(f"xyxy must be float32 ({count}, 4), got {self.xyxy.dtype} {self.xyxy.shape}")
        for name, kind in (("image", np.int32), ("class_id", np.int32), ("confidence", np.float32)):
            column = getattr(self, name)
            if column.shape != (count,) or column.dtype != kind:
                raise ValueError(
                    f"{name} must be {np.dtype(kind)} ({count},), got {column.dtype} {column.shape}"
                )
        if not (np.isfinite(self.xyxy).all() and np.isfinite(self.confidence).all()):
            raise ValueError("xyxy and confidence must be finite")

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def empty(cls) -> Scored:
        """No detections."""
        return cls(
            image=np.zeros(0, np.int32),
            class_id=np.zeros(0, np.int32),
            confidence=np.zeros(0, np.float32),
            xyxy=np.zeros((0, 4), np.float32),
        )


def _check_positions(name: str, positions: NDArray[np.int32], count: int | None) -> None:
    if len(positions) and (positions.min() < 0 or (count is not None and positions.max() >= count)):
        highest = "" if count is None else f" to {count - 1}"
        raise ValueError(f"{name} must lie in 0{highest}, got {positions.min()} to {positions.max()}")
