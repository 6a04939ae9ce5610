"""Size and orientation of an image file from its first bytes, before any decoder sees it.

A file of a few bytes can claim billions of pixels, so the claim is read here, by bounds-checked code, and
judged before a decoder allocates anything for it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bmodel.errors import RaysailError

Kind = Literal["JPEG", "PNG", "BMP", "WebP", "TIFF", "PNM"]

# Start-of-frame markers of JPEG; the gaps are tables (DHT, JPG, DAC).
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_JPEG_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_JPEG_SCAN = 0xDA
_JPEG_END = b"\xff\xd9"
# A decoder passes over the whole image once per scan; encoders write about ten.
_MOST_JPEG_SCANS = 100
_MOST_PNG_CHUNKS = 1_000_000
# No file of these formats can hold more pixels per byte. JPEG codes at least one bit for a block of 8 x 8 (with
# arithmetic coding far less); deflate shrinks to 1/1032 at best, and PNG's smallest pixel is a bit.
_MOST_PIXELS_PER_BYTE = {"JPEG": 8 * 64, "JPEG, arithmetic": 1 << 16, "PNG": 8 * 1032}
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_ORIENTATION = 256, 257, 274
_TIFF_SHORT, _TIFF_LONG = 3, 4
# Magic number, width and height of a grey or colour portable anymap; comments run to the end of their line.
_PNM = re.compile(rb"P[2356](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")


class ImageError(RaysailError):
    """One image cannot be used; the message becomes the reason of its failed row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageHeader:
    """What a file says of itself.

    size_hw: height and width as stored, pixels, before any EXIF rotation.
    orientation: EXIF's number for how the image is to be turned, 1 for not at all; only read from JPEG.
    most_pixels: how many pixels a file of this length can hold at most; None where the format sets no bound.
    """

    kind: Kind
    size_hw: tuple[int, int]
    orientation: int = 1
    most_pixels: int | None = None

    @property
    def sideways(self) -> bool:
        """Whether turning the image exchanges height and width."""
        return self.orientation in (5, 6, 7, 8)


def read_header(data: bytes) -> ImageHeader:
    """Read the header of a whole file; raises ImageError when it is damaged, cut short or of another format."""
    try:
        header = _parse(data)
    except struct.error as error:
        raise ImageError("the file ends inside its header") from error
    if min(header.size_hw) < 1:
        raise ImageError(
            f"the {header.kind} header claims {header.size_hw[0]} rows of {header.size_hw[1]} pixels"
        )
    return header


def _parse(data: bytes) -> ImageHeader:
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ImageHeader(kind="WebP", size_hw=_webp_size(data))
    if data.startswith((b"II*\0", b"MM\0*")):
        tags = dict(_tiff_tags(data))
        if _TIFF_WIDTH not in tags or _TIFF_HEIGHT not in tags:
            raise ImageError("the TIFF header names no width or no height")
        return ImageHeader(kind="TIFF", size_hw=(tags[_TIFF_HEIGHT], tags[_TIFF_WIDTH]))
    if data.startswith(b"BM"):
        return ImageHeader(kind="BMP", size_hw=_bmp_size(data))
    if match := _PNM.match(data):
        return ImageHeader(kind="PNM", size_hw=(int(match[2]), int(match[1])))
    raise ImageError(
        "the file is empty" if not data else "the content is no JPEG, PNG, BMP, WebP, TIFF or PNM image"
    )


def _jpeg(data: bytes) -> ImageHeader:
    size_hw: tuple[int, int] | None = None
    orientation = 1
    coding, components = "JPEG", 0
    in_passes = False
    for marker, start, end in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 1)
            size_hw = height, width
            coding = "JPEG, arithmetic" if marker in _JPEG_ARITHMETIC else "JPEG"
            (components,) = struct.unpack_from(">B", data, start + 5)
            in_passes = marker in _JPEG_PROGRESSIVE
        elif marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            orientation = _orientation(data[start + 6 : end])
        elif marker == _JPEG_SCAN:
            # Some decoders fill the missing part of a cut file with grey and call it a success.
            if data.rfind(_JPEG_END, end) < 0:
                raise ImageError("the JPEG file is truncated: it has no end-of-image marker")
            # Of a sequential file whose first scan holds all components, decoders read that one alone.
            if in_passes or data[start : start + 1] < bytes([components]):
                _check_jpeg_scans(data, end)
            break
    if size_hw is None:
        raise ImageError("the JPEG file has no frame before its first scan")
    return ImageHeader(
        kind="JPEG",
        size_hw=size_hw,
        orientation=orientation,
        most_pixels=len(data) * _MOST_PIXELS_PER_BYTE[coding],
    )


def _check_jpeg_scans(data: bytes, first_scan: int) -> None:
    """Raise ImageError where the scans would keep a decoder busy for minutes; within a scan no byte looks like one."""
    scans = 1 + data.count(b"\xff\xda", first_scan)
    if scans > _MOST_JPEG_SCANS:
        raise ImageError(f"the JPEG file has {scans} scans, more than the limit of {_MOST_JPEG_SCANS}")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first byte and end of each segment's content, up to and with the first scan's header."""
    position = 2
    while True:
        prefix, marker = struct.unpack_from(">BB", data, position)
        if prefix != 0xFF:
            raise ImageError(f"the JPEG file is damaged: no marker at byte {position}")
        if marker == 0xFF:  # any number of fill bytes may stand before a marker
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if length < 2:
            raise ImageError(f"the JPEG file is damaged: a segment of length {length} at byte {position}")
        yield marker, position + 4, position + 2 + length
        position += 2 + length


def _orientation(exif: bytes) -> int:
    try:
        return dict(_tiff_tags(exif)).get(_TIFF_ORIENTATION, 1)
    except (struct.error, ImageError):
        return 1  # a damaged EXIF block is ignored, as the decoder ignores it


def _png(data: bytes) -> ImageHeader:
    if data[12:16] != b"IHDR":
        raise ImageError("the PNG file does not begin with an IHDR chunk")
    width, height = struct.unpack_from(">II", data, 16)
    if data.rfind(b"IEND") < 0:
        raise ImageError("the PNG file is truncated: it has no IEND chunk")
    _check_png_chunks(data)
    most_pixels = len(data) * _MOST_PIXELS_PER_BYTE["PNG"]
    return ImageHeader(kind="PNG", size_hw=(height, width), most_pixels=most_pixels)


def _check_png_chunks(data: bytes) -> None:
    """Raise ImageError unless every chunk up to IEND lies inside the file: decoders allocate what a chunk claims."""
    position = 8
    for _ in range(_MOST_PNG_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IEND":
            return
        if position + 12 + length > len(data):
            raise ImageError(
                f"the PNG file is damaged: a chunk at byte {position} claims {length} bytes, more than the file has"
            )
        position += 12 + length
    raise ImageError(f"the PNG file has more than the limit of {_MOST_PNG_CHUNKS} chunks")


def _webp_size(data: bytes) -> tuple[int, int]:
    form = data[12:16]
    if form == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if form == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if form == b"VP8X":
        low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, 24)
        return (high_h << 16 | low_h) + 1, (high_w << 16 | low_w) + 1
    raise ImageError("the WebP file begins with an unknown chunk")


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return abs(height), width  # a negative height means rows from the top


def _tiff_tags(data: bytes) -> Iterator[tuple[int, int]]:
    """Tags of the first directory whose value is one short or long integer."""
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", data, entry)
        if values == 1 and kind in (_TIFF_SHORT, _TIFF_LONG):
            (value,) = struct.unpack_from(order + ("H" if kind == _TIFF_SHORT else "I"), data, entry + 8)
            yield tag, value
