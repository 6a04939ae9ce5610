"""Builders of image files, sound and broken, for tests."""

from __future__ import annotations

import base64
import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# 8 × 16 pixels of one CMYK colour, about RGB (200, 100, 50), with an Adobe marker (inverted values).
CMYK_JPEG = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwADAgIDAgIDAwMDBAMDBAUIBQUEBAUKBwcGCAwKDAwLCgsLDQ4SEA0OEQ4LCxAWEBETFBUVFQwP"
    "FxgWFBgSFBUU/8AAFAgACAAQBEMRAE0RAFkRAEsRAP/EABcAAQEBAQAAAAAAAAAAAAAAAAAIBwn/xAAUEAEAAAAAAAAAAAAAAAAAAAAA"
    "/9oADgRDAE0AWQBLAAA/ALAZoi91TAH/2Q=="
)


def encode(suffix: str, pixels: NDArray[np.unsignedinteger], *parameters: int) -> bytes:
    """A file of the suffix's format."""
    ok, data = cv2.imencode(suffix, pixels, list(parameters))
    assert ok
    return bytes(data)


def landscape(height: int = 48, width: int = 64) -> Pixels:
    """Smooth colours that differ in every corner."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = 40 + 180 * rows / height
    green = 30 + 190 * columns / width
    blue = 200 - 90 * rows / height - 60 * columns / width
    return np.asarray(np.stack((blue, green, red), axis=2).round(), np.uint8)


def with_exif_orientation(jpeg: bytes, orientation: int, *, order: str = "<") -> bytes:
    """The JPEG with an EXIF block of one tag, its orientation, in little- or big-endian order."""
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    tiff = mark + struct.pack(order + "HIH", 42, 8, 1) + entry + struct.pack(order + "I", 0)
    content = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def png_claiming(height: int, width: int) -> bytes:
    """A PNG of some dozen bytes that claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
