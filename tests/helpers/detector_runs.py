"""Images for a detector, runs of it on the pixel device, and its results without the clock."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.helpers.image_files import encode
from tests.helpers.pixel_device import PixelDevice
from tests.helpers.small_specs import head_spec
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.values import ImageRef, ImageResult


def write_images(folder: Path, count: int = 11) -> list[ImageRef]:
    """Images of various sizes and contents."""
    dice = np.random.default_rng(0)
    for number in range(count):
        height, width = dice.integers(20, 300, 2)
        coarse = dice.integers(0, 256, (5, 7, 3), np.uint8)
        pixels = np.asarray(cv2.resize(coarse, (int(width), int(height))), np.uint8)
        (folder / f"{number}.png").write_bytes(encode(".png", pixels))
    return refs(folder / f"{number}.png" for number in range(count))


def refs(paths: Iterable[Path]) -> list[ImageRef]:
    return [ImageRef(index=100 + n, image_id=path.name, path=str(path)) for n, path in enumerate(paths)]


def detect(
    images: list[ImageRef], options: DetectOptions | None = None, *, batch: int = 1, levels: int = 3
) -> list[ImageResult]:
    device = PixelDevice(head_spec(batch=batch, levels=levels))
    with Detector(device, options or DetectOptions(conf=0.2)) as detector:
        return detector.detect(images)


def content(results: list[ImageResult]) -> list[tuple[object, ...]]:
    """All that does not depend on the clock, bit for bit."""
    return [
        (
            result.image,
            result.size_hw,
            result.failure,
            result.batch,
            result.detections
            and (
                result.detections.xyxy.tobytes(),
                result.detections.confidence.tobytes(),
                result.detections.class_id.tobytes(),
            ),
        )
        for result in results
    ]


def found(result: ImageResult) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    assert result.detections is not None
    return result.detections.xyxy, result.detections.confidence, result.detections.class_id
