"""Whatever the bytes, a header is read or refused with a reason; nothing else is raised."""

from __future__ import annotations

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.image_files import CMYK_JPEG, encode, landscape, with_exif_orientation
from tpu_worker.image_header import ImageError, read_header

FILES = {
    "jpeg": encode(".jpg", landscape(20, 30)),
    "progressive": encode(".jpg", landscape(20, 30), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "exif": with_exif_orientation(encode(".jpg", landscape(20, 30)), 6),
    "cmyk": CMYK_JPEG,
    "png": encode(".png", landscape(20, 30)),
    "bmp": encode(".bmp", landscape(20, 30)),
    "webp": encode(".webp", landscape(20, 30)),
    "webp-lossless": encode(".webp", landscape(20, 30), cv2.IMWRITE_WEBP_QUALITY, 101),
    "tiff": encode(".tiff", landscape(20, 30)),
    "ppm": encode(".ppm", landscape(20, 30)),
}


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_beginning_of_a_file_is_read_or_refused(name: str) -> None:
    data = FILES[name]
    expected = read_header(data).size_hw
    for length in range(len(data)):
        try:
            size_hw = read_header(data[:length]).size_hw
        except ImageError:
            continue
        assert size_hw == expected


@given(name=st.sampled_from(sorted(FILES)), data=st.data())
def test_changed_bytes_are_read_or_refused(name: str, data: st.DataObject) -> None:
    content = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, min(len(content), 700) - 1))] = data.draw(st.integers(0, 255))
    try:
        header = read_header(bytes(content))
    except ImageError:
        return
    assert min(header.size_hw) >= 1


@given(
    st.binary(max_size=200),
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"BM", b"P6", b""]),
)
def test_arbitrary_bytes_are_read_or_refused(content: bytes, magic: bytes) -> None:
    try:
        header = read_header(magic + content)
    except ImageError:
        return
    assert min(header.size_hw) >= 1
