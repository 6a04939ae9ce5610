"""Images as a network sees them, for the compiler's calibration: letterboxed to its input and written as PNG.

The compiler would fit images into the input in a way of its own; these are already of the right size, so it takes
them as they are, and INT8's ranges are those of what the detector really feeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bmodel.errors import ConfigurationError, ToolError
from bmodel.sidecar import Normalisation
from jobs.inputs.images import list_images
from tpu_worker.image_header import ImageError
from tpu_worker.letterbox import Letterbox
from tpu_worker.read_image import ReadOptions, read_image


def choose_images(source: Path, count: int, *, option: str) -> list[Path]:
    """Choose `count` images, or all where there are fewer, spread evenly over a folder or list.

    Raises ConfigurationError naming `option` when there are none.
    """
    if count < 1:
        raise ConfigurationError(f"{option}: at least 1 image is needed, got {count}")
    if not source.exists():
        raise ConfigurationError(f"{option}: there is no '{source}'")
    try:
        paths = [Path(str(path)) for path in list_images(str(source)).paths]
    except ConfigurationError as error:
        raise ConfigurationError(f"{option}: {str(error).removeprefix('--images: ')}") from error
    taken = min(count, len(paths))
    return [paths[position * len(paths) // taken] for position in range(taken)]


def write_calibration_images(
    paths: Sequence[Path], folder: Path, *, input_hw: tuple[int, int], normalisation: Normalisation
) -> None:
    """Write each image letterboxed as `folder`/NNNN.png; raises ConfigurationError naming one that cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        try:
            bgr = read_image(str(path), ReadOptions()).bgr
        except ImageError as error:
            raise ConfigurationError(f"--calibration: '{path}' cannot be used: {error}") from error
        target = folder / f"{number:04}.png"
        if not cv2.imwrite(str(target), letterboxed(bgr, input_hw, normalisation.padding)):
            raise ToolError(f"cannot write '{target}': the disk may be full")


def letterboxed(bgr: NDArray[np.uint8], input_hw: tuple[int, int], padding: int) -> NDArray[np.uint8]:
    """Fit a BGR image (H, W, 3) into the network's input as the detector does, before normalisation."""
    place = Letterbox.fit((bgr.shape[0], bgr.shape[1]), input_hw)
    height, width = place.resized_hw
    canvas = np.full((*input_hw, 3), padding, np.uint8)
    resized = bgr
    if bgr.shape[:2] != place.resized_hw:
        resized = np.asarray(cv2.resize(bgr, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    canvas[place.top : place.top + height, place.left : place.left + width] = resized
    return canvas
