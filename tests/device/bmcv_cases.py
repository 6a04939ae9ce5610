"""Pictures for preprocessing on the card, and what the host would make of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec
from tpu_worker.letterbox import Letterbox

# Exif with orientation 6: the smallest block that says so.
EXIF_SIDEWAYS = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"

# For a network of 64 x 96 pixels: the least and the most that the card's scaler takes, and what is beyond. Sizes are of
# the image; at (320, 1920) and (1000, 250) the image within the input has a side of 16, at (2048, 3072) both shrink 32
# times.
WITHIN_THE_SCALER_HW = [(16, 16), (16, 24), (320, 1920), (1000, 250), (2048, 3072)]
BEYOND_THE_SCALER_HW = [
    *((15, 70), (70, 15), (8, 70), (4097, 3000), (3000, 4097)),
    *((20, 1000), (318, 1920), (1000, 249), (2049, 3072), (2048, 3073), (4096, 4096)),
]


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Soft colours, so that JPEG keeps them and interpolation shows."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = (rows * 3 + columns, columns * 5 + 40, (rows + columns) * 2 + 90)
    return np.stack([plane % 200 for plane in planes], axis=2).astype(np.uint8)


def jpeg(path: Path, height: int, width: int, *options: int) -> Path:
    ok, data = cv2.imencode(".jpg", picture(height, width), [cv2.IMWRITE_JPEG_QUALITY, 95, *options])
    assert ok
    path.write_bytes(data.tobytes())
    return path


def with_exif(path: Path) -> Path:
    data = path.read_bytes()
    segment = b"\xff\xe1" + (len(EXIF_SIDEWAYS) + 2).to_bytes(2, "big") + EXIF_SIDEWAYS
    path.write_bytes(data[:2] + segment + data[2:])
    return path


def by_hand(path: Path, letterbox: Letterbox, spec: ModelSpec) -> NDArray[np.float32]:
    """The input that an image should become, step by step on the host."""
    bgr = np.asarray(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR))
    planes = bgr[:, :, ::-1] if spec.normalisation.channels == "rgb" else bgr
    boxed = np.full((*letterbox.input_hw, 3), spec.normalisation.padding, np.uint8)
    height, width = letterbox.resized_hw
    resized = cv2.resize(np.ascontiguousarray(planes), (width, height), interpolation=cv2.INTER_LINEAR)
    boxed[letterbox.top : letterbox.top + height, letterbox.left : letterbox.left + width] = resized
    normalisation = spec.normalisation
    values = (boxed.astype(np.float64) - normalisation.mean) * normalisation.scale
    return np.asarray(values.transpose(2, 0, 1), np.float32)
