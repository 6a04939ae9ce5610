"""Heights and widths of the images in a folder, as the detector sees them: rotated by their EXIF orientation."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from data.label_text import FormatError

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
MAX_PIXELS: Final = 1 << 28
"""An image that claims more is refused: decoding it would exhaust the machine's memory."""


def image_sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Relative path → (height, width) in pixels of every image below a folder, sorted by path.

    Raises FormatError if there is no such folder, no image in it, or one that cannot be read.
    """
    if not folder.is_dir():
        raise FormatError(f"the folder of images must exist, got '{folder}'")
    names = sorted(
        (Path(parent) / name).relative_to(folder).as_posix()
        for parent, _, files in os.walk(folder)
        for name in files
        if Path(name).suffix.lower() in IMAGE_SUFFIXES
    )
    if not names:
        raise FormatError(f"the folder of images must hold at least one image, got none in '{folder}'")
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(lambda name: _size_hw(folder / name), names), strict=True))


def _size_hw(path: Path) -> tuple[int, int]:
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))  # read once, when cv2 is first used
    import cv2

    if not path.is_file():
        raise FormatError(f"an image must be a regular file, got '{path}'")
    try:
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        raise FormatError(f"cannot read the image '{path}': {error.err}") from None
    if pixels is None:
        raise FormatError(f"cannot read the image '{path}': it is damaged or not an image")
    return int(pixels.shape[0]), int(pixels.shape[1])
