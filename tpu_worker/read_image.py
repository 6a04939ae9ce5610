"""Bytes of an image file, local or in an object store, to BGR pixels.

What cannot be read raises ImageError, whose message becomes the reason of the image's failed row. Formats, limits
and the treatment of EXIF, alpha and 16-bit images are described in docs/preprocessing.md.
"""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from bmodel.errors import RaysailError
from tpu_worker import DEFAULT_MAX_PIXELS
from tpu_worker.image_header import ImageError, ImageHeader, read_header

MAX_FILE_BYTES: Final = 512 * 1024 * 1024

_REDUCED_COLOUR = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """How images are read.

    max_pixels: an image whose header claims more is refused before it is decoded.
    ignore_exif: leave the image as stored instead of turning it as its EXIF orientation says; boxes are in the pixels
        of the image as it is then.
    reduce_to_hw: decode a JPEG at 1/2, 1/4 or 1/8 of its size as long as it still covers this; None decodes in full.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    ignore_exif: bool = False
    reduce_to_hw: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceImage:
    """A decoded image.

    bgr: (H, W, 3) uint8; smaller than size_hw when the JPEG was decoded at a reduced scale.
    size_hw: the image's full size in pixels, the frame of its boxes.
    """

    bgr: NDArray[np.uint8]
    size_hw: tuple[int, int]


def read_image(path: str, options: ReadOptions) -> SourceImage:
    """Read and decode the image at a local path or a URL; raises ImageError."""
    return decode_image(read_bytes(path), options)


def read_bytes(path: str) -> bytes:
    """Content of a regular file or of an object, whose URL is percent-encoded; raises ImageError."""
    if "://" not in path:
        return _read_local(path)
    url = urlsplit(path, allow_fragments=False)
    if url.scheme == "file":
        return _read_local(unquote(url.path))
    return _read_remote(f"{url.scheme}://{url.netloc}", unquote(url.path), url.query)


def local_path(path: str) -> Path | None:
    """Return the file of a local path or a `file://` URL; None for an object of a store."""
    if "://" not in path:
        return Path(path)
    url = urlsplit(path, allow_fragments=False)
    return Path(unquote(url.path)) if url.scheme == "file" else None


def decode_image(data: bytes, options: ReadOptions) -> SourceImage:
    """Decode a whole file to BGR; raises ImageError."""
    header = read_header(data)
    height, width = header.size_hw
    if height * width > options.max_pixels:
        raise ImageError(
            f"the {header.kind} header claims {height} rows of {width} pixels, more than the limit of "
            f"{options.max_pixels} pixels"
        )
    if (
        header.most_pixels is not None and height * width > header.most_pixels
    ):  # decoders would make up the rest
        raise ImageError(
            f"the {header.kind} file is damaged: {len(data)} bytes cannot hold {height} rows of {width} pixels"
        )
    divisor = _divisor(header, options)
    flags = _REDUCED_COLOUR[divisor] | (cv2.IMREAD_IGNORE_ORIENTATION if options.ignore_exif else 0)
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"the {header.kind} file cannot be decoded: {error.err or error}") from error
    if decoded is None:
        raise ImageError(f"the {header.kind} file is damaged or truncated and cannot be decoded")
    bgr = np.asarray(decoded, np.uint8)
    size_hw = (bgr.shape[0], bgr.shape[1])
    return SourceImage(bgr=bgr, size_hw=size_hw if divisor == 1 else _turned(header, options))


def _turned(header: ImageHeader, options: ReadOptions) -> tuple[int, int]:
    height, width = header.size_hw
    return (width, height) if header.sideways and not options.ignore_exif else (height, width)


def _divisor(header: ImageHeader, options: ReadOptions) -> int:
    """The largest reduction at which the decoded image still covers its place in the network's input."""
    if options.reduce_to_hw is None or header.kind != "JPEG":
        return 1
    height, width = _turned(header, options)
    ratio = max(height / options.reduce_to_hw[0], width / options.reduce_to_hw[1])
    return max(divisor for divisor in _REDUCED_COLOUR if divisor <= max(ratio, 1))


def _read_local(path: str) -> bytes:
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer that may never come.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _read_descriptor(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ImageError(f"cannot read the file: {error.strerror}") from error
    except ValueError as error:
        raise ImageError(f"cannot read the file: {error}") from error


def _read_descriptor(descriptor: int) -> bytes:
    status = os.fstat(descriptor)
    _check_regular(status.st_mode)
    _check_bytes(status.st_size)
    data = os.read(descriptor, status.st_size)
    # Some network file systems give less than was asked for.
    while len(data) < status.st_size and (more := os.read(descriptor, status.st_size - len(data))):
        data += more
    return data


def _check_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise ImageError("the path is a folder, not a file")
    if not stat.S_ISREG(mode):
        raise ImageError("the path is not a regular file (a pipe, socket or device)")


def _check_bytes(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise ImageError(f"the file has {size} bytes, more than the limit of {MAX_FILE_BYTES} bytes")


def _read_remote(root: str, path: str, query: str) -> bytes:
    try:
        filesystem, base = _filesystem(root, query)
        with filesystem.open_input_file(f"{base.rstrip('/')}/{path.lstrip('/')}") as file:
            _check_bytes(file.size())
            data: bytes = file.read()
            return data
    except RaysailError:
        raise
    except Exception as error:
        # Each store's client has exceptions of its own.
        raise ImageError(f"cannot read the object: {error}") from error


@functools.lru_cache(maxsize=64)
def _filesystem(root: str, query: str) -> tuple[Any, str]:
    """The store behind `scheme://authority`, opened once a process, and the path of its root."""
    from pyarrow import fs

    filesystem, base = fs.FileSystem.from_uri(f"{root}/?{query}" if query else f"{root}/")
    return filesystem, base
