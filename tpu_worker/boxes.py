"""Detections of one image: boxes in source pixels with confidence and class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Detections:
    """N boxes, best first.

    xyxy: (N, 4) float32, left, top, right, bottom in source pixels, 0-based, right and bottom exclusive edges.
    confidence: (N,) float32 in 0..1, objectness times class probability.
    class_id: (N,) int32, position in the model's class names.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]

    def __post_init__(self) -> None:
        count = len(self.xyxy)
        if self.xyxy.shape != (count, 4) or self.xyxy.dtype != np.float32:
            raise ValueError(f"xyxy must be float32 (N, 4), got {self.xyxy.dtype} {self.xyxy.shape}")
        if self.confidence.shape != (count,) or self.confidence.dtype != np.float32:
            raise ValueError(
                f"confidence must be float32 ({count},), got {self.confidence.dtype} {self.confidence.shape}"
            )
        if self.class_id.shape != (count,) or self.class_id.dtype != np.int32:
            raise ValueError(
                f"class_id must be int32 ({count},), got {self.class_id.dtype} {self.class_id.shape}"
            )

    def __len__(self) -> int:
        return len(self.xyxy)

    @classmethod
    def empty(cls) -> Detections:
        """No boxes."""
        return cls(
            xyxy=np.zeros((0, 4), np.float32),
            confidence=np.zeros(0, np.float32),
            class_id=np.zeros(0, np.int32),
        )
