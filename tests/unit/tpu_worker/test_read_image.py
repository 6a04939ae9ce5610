"""What can be read becomes BGR pixels; what cannot becomes one sentence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from tests.helpers.image_files import (
    CMYK_JPEG,
    Pixels,
    encode,
    landscape,
    png_claiming,
    with_exif_orientation,
)
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tpu_worker import DEFAULT_MAX_PIXELS
from tpu_worker.image_header import ImageError, read_header
from tpu_worker.read_image import MAX_FILE_BYTES, ReadOptions, SourceImage, decode_image, read_image

JPEG = encode(".jpg", landscape())
PNG = encode(".png", landscape())

PNG_OF_A_LARGE_CHUNK = png_claiming(5, 5)[:33] + b"\xff\xff\xff\xf0tEXt" + png_claiming(5, 5)[-43:]
# The frame's height and width replaced, and everything between the first scan's header and the end left out.
_FRAME, _SCAN = JPEG.index(b"\xff\xc0"), JPEG.index(b"\xff\xda")
JPEG_WITHOUT_PIXELS = (
    JPEG[: _FRAME + 5] + (12_000).to_bytes(2, "big") * 2 + JPEG[_FRAME + 9 : _SCAN + 14] + b"\xff\xd9"
)
_PROGRESSIVE = cv2.imencode(".jpg", landscape(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
JPEG_OF_MANY_SCANS = (
    _PROGRESSIVE[:-2] + _PROGRESSIVE[_PROGRESSIVE.rindex(b"\xff\xda") : -2] * 20_000 + b"\xff\xd9"
)


def read(path: Path) -> SourceImage:
    return read_image(str(path), ReadOptions())


def test_reads_a_file_as_bgr(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    source = read(path)
    assert source.size_hw == (48, 64)
    np.testing.assert_array_equal(source.bgr, landscape())


def _folder(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("gone.jpg"))


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)


def _content(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_folder, "is a folder"),
        (_fifo, "not a regular file"),
        (_socket, "cannot read the file"),
        (_dangling, "No such file"),
        (_loop, "symbolic links"),
        (_sparse, f"more than the limit of {MAX_FILE_BYTES} bytes"),
        (_content(b""), "the file is empty"),
        (_content(b"not an image at all\n" * 10), "no JPEG, PNG"),
        (_content(JPEG[:-100]), "truncated"),
        (_content(JPEG[:-2]), "truncated"),
        (_content(JPEG[:-1]), "truncated"),
        (_content(JPEG[:300]), "ends inside its header"),
        (_content(PNG[: len(PNG) // 2]), "truncated"),
        (_content(encode(".bmp", landscape())[:-10]), "damaged or truncated"),
        (_content(encode(".webp", landscape())[:-10]), "damaged or truncated"),
        (_content(encode(".tiff", landscape())[:-10]), "damaged or truncated"),
        (_content(encode(".tiff", landscape())[:-100]), "ends inside its header"),
        (_content(encode(".ppm", landscape())[:-10]), "damaged or truncated"),
        (_content(JPEG[:2] + b"\xff\xd9"), "ends inside its header"),
        (_content(JPEG[:20] + b"\0" + JPEG[21:]), "damaged: no marker at byte 20"),
        (_content(png_claiming(60_000, 60_000)), "60000 rows of 60000 pixels, more than the limit"),
        (_content(png_claiming(0, 5)), "0 rows of 5 pixels"),
        (_content(png_claiming(9_000, 9_000)), "bytes cannot hold 9000 rows of 9000 pixels"),
        (
            _content(PNG_OF_A_LARGE_CHUNK),
            "a chunk at byte 33 claims 4294967280 bytes, more than the file has",
        ),
        (_content(JPEG_WITHOUT_PIXELS), "bytes cannot hold 12000 rows of 12000 pixels"),
        (_content(JPEG_OF_MANY_SCANS), "scans, more than the limit of 100"),
        (_content(png_claiming(20, 30)), "PNG file is damaged"),
        (_content(b"GIF89a" + bytes(50)), "no JPEG, PNG"),
        (_content(b"P6 " + b" " * 100_000), "no JPEG, PNG"),
    ],
)
def test_unusable_files_have_a_reason(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    path = tmp_path / "x.jpg"
    make(path)
    errors: list[str] = []

    def attempt() -> None:
        try:
            read(path)
        except ImageError as error:
            errors.append(str(error))

    # A file that makes reading wait must fail this test, not hang it.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout=HANG_S)
    assert not thread.is_alive()
    assert errors
    assert reason in errors[0]


def test_a_device_file_is_refused() -> None:
    with pytest.raises(ImageError, match="not a regular file"):
        read(Path("/dev/zero"))


def test_a_path_with_a_null_character_is_a_reason_not_a_crash() -> None:
    with pytest.raises(ImageError, match="null"):
        read_image("a\0b.jpg", ReadOptions())


def test_a_file_without_read_permission_is_a_reason() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "secret.jpg"
        path.write_bytes(JPEG)
        path.chmod(0)
        if os.geteuid() != 0:
            with pytest.raises(ImageError, match="Permission denied"):
                read(path)
            return
        Path(folder).chmod(0o755)
        # Root may read everything, so a process of another user has to try.
        code = (
            "import os, sys, tpu_worker.read_image as r\nos.setuid(65534)\n"
            "try: r.read_image(sys.argv[1], r.ReadOptions())\nexcept r.ImageError as error: print(error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=ROOT
        )
        assert done.stdout == "cannot read the file: Permission denied\n", done.stderr


@pytest.mark.parametrize(
    "path",
    ["photo 1.png", "été/100%25.png", "a#b.png", "what?.png"],
    ids=["space", "accent", "hash", "question"],
)
def test_file_urls_are_percent_encoded(tmp_path: Path, path: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(PNG)
    assert read_image("file://" + quote(str(file)), ReadOptions()).size_hw == (48, 64)


def test_an_unknown_scheme_is_a_reason() -> None:
    with pytest.raises(ImageError, match="cannot read the object"):
        read_image("gopher://host/a.jpg", ReadOptions())


def _grey(value: int) -> Pixels:
    return np.full((6, 9), value, np.uint8)


DEEP = np.full((6, 9, 3), (0x1234, 0x8000, 0xFEDC), np.uint16)
TRANSPARENT = np.full((6, 9, 4), (10, 20, 30, 0), np.uint8)


@pytest.mark.parametrize(
    ("data", "size_hw", "bgr"),
    [
        (encode(".jpg", _grey(77)), (6, 9), (77, 77, 77)),
        (encode(".png", _grey(77)), (6, 9), (77, 77, 77)),
        (encode(".pgm", _grey(77)), (6, 9), (77, 77, 77)),
        (b"P5\n# a comment 1 2\n9 # another\n 6\n255\n" + bytes([77] * 54), (6, 9), (77, 77, 77)),
        (encode(".png", DEEP), (6, 9), (0x12, 0x80, 0xFE)),
        (encode(".png", TRANSPARENT), (6, 9), (10, 20, 30)),
        (encode(".tiff", TRANSPARENT[..., :3].copy()), (6, 9), (10, 20, 30)),
        (encode(".bmp", TRANSPARENT[..., :3].copy()), (6, 9), (10, 20, 30)),
        (encode(".bmp", TRANSPARENT), (6, 9), (10, 20, 30)),
        (encode(".webp", TRANSPARENT[..., :3].copy(), cv2.IMWRITE_WEBP_QUALITY, 101), (6, 9), (10, 20, 30)),
        (encode(".ppm", TRANSPARENT[..., :3].copy()), (6, 9), (10, 20, 30)),
        (CMYK_JPEG, (8, 16), (50, 100, 200)),
        (encode(".png", np.full((1, 1, 3), 9, np.uint8)), (1, 1), (9, 9, 9)),
        (encode(".jpg", np.full((10, 20_000, 3), 120, np.uint8)), (10, 20_000), (120, 120, 120)),
        (encode(".png", np.full((20_000, 10, 3), 120, np.uint8)), (20_000, 10), (120, 120, 120)),
        (JPEG + bytes(5000), (48, 64), None),
    ],
)
def test_unusual_images_become_bgr(
    data: bytes, size_hw: tuple[int, int], bgr: tuple[int, int, int] | None
) -> None:
    source = decode_image(data, ReadOptions())
    assert source.size_hw == source.bgr.shape[:2] == size_hw
    assert source.bgr.dtype == np.uint8
    assert source.bgr.shape[2:] == (3,)
    if bgr is not None:
        middle = source.bgr[size_hw[0] // 2, size_hw[1] // 2].astype(int)
        assert np.abs(middle - bgr).max() <= 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm", ".pgm"])
@pytest.mark.parametrize("size_hw", [(1, 1), (3, 700), (257, 2), (300, 260)])
def test_the_header_tells_the_decoded_size(suffix: str, size_hw: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    assert read_header(encode(suffix, pixels[..., 0] if suffix == ".pgm" else pixels)).size_hw == size_hw


@pytest.mark.parametrize("parameters", [(cv2.IMWRITE_WEBP_QUALITY, 101), (cv2.IMWRITE_WEBP_QUALITY, 60)])
@pytest.mark.parametrize("channels", [3, 4])
def test_every_form_of_webp_tells_its_size(parameters: tuple[int, int], channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 260, channels), np.uint8)
    assert read_header(encode(".webp", pixels, *parameters)).size_hw == (300, 260)


def test_a_bmp_stored_from_the_top_tells_its_size() -> None:
    data = bytearray(encode(".bmp", landscape()))
    data[22:26] = (-48).to_bytes(4, "little", signed=True)
    source = decode_image(bytes(data), ReadOptions())
    assert source.size_hw == (48, 64)
    np.testing.assert_array_equal(source.bgr, landscape()[::-1])


def test_the_pixel_limit_is_inclusive() -> None:
    assert decode_image(PNG, ReadOptions(max_pixels=48 * 64)).size_hw == (48, 64)
    with pytest.raises(ImageError, match="more than the limit of 3071 pixels"):
        decode_image(PNG, ReadOptions(max_pixels=48 * 64 - 1))


@pytest.mark.parametrize(
    "module", ["", ".detector", ".letterbox", ".nms", ".pipeline", ".read_image", ".devices", ".values"]
)
def test_the_decoder_has_its_own_limit_whatever_is_imported_first(module: str) -> None:
    code = (
        f"import tpu_worker{module}, cv2, numpy, sys\n"
        "data = numpy.frombuffer(sys.stdin.buffer.read(), numpy.uint8)\n"
        "try: print(cv2.imdecode(data, cv2.IMREAD_COLOR))\n"
        "except cv2.error as error: print(error.err)"
    )
    side = int(DEFAULT_MAX_PIXELS**0.5) + 1
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=png_claiming(side, side),
        capture_output=True,
        cwd=ROOT,
        env=environment,
    )
    assert b"CV_IO_MAX_IMAGE_PIXELS" in done.stdout, done


def test_broken_files_leave_standard_error_alone(tmp_path: Path) -> None:
    for number, data in enumerate(
        [JPEG[:-2], JPEG[:500], PNG[:-20], encode(".tiff", landscape())[:-10], b"BM"]
    ):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    code = (
        "import sys, tpu_worker.read_image as r\nfor path in sys.argv[1:]:\n"
        "  try: r.read_image(path, r.ReadOptions())\n  except r.ImageError: print('refused')"
    )
    paths = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "refused\n" * 5
    assert done.stderr == ""


TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", sorted(TURNS))
def test_exif_orientation_is_applied_or_ignored(orientation: int, order: str) -> None:
    data = with_exif_orientation(JPEG, orientation, order=order)
    stored = decode_image(JPEG, ReadOptions()).bgr
    turned = decode_image(data, ReadOptions())
    np.testing.assert_array_equal(turned.bgr, TURNS[orientation](stored))
    assert turned.size_hw == turned.bgr.shape[:2]
    ignored = decode_image(data, ReadOptions(ignore_exif=True))
    np.testing.assert_array_equal(ignored.bgr, stored)
    assert ignored.size_hw == (48, 64)


def test_a_damaged_exif_block_is_ignored() -> None:
    data = JPEG[:2] + b"\xff\xe1\x00\x0eExif\0\0II*\0\xff\xff" + JPEG[2:]
    assert decode_image(data, ReadOptions()).size_hw == (48, 64)


LARGE = encode(".jpg", landscape(1001, 1603))


@pytest.mark.parametrize(
    ("reduce_to_hw", "decoded_hw"),
    [
        ((640, 640), (501, 802)),
        ((320, 320), (251, 401)),
        ((160, 160), (126, 201)),
        ((1000, 1000), (1001, 1603)),
        ((2000, 2000), (1001, 1603)),
        ((8, 8), (126, 201)),
        ((501, 3000), (1001, 1603)),
    ],
)
def test_reduced_decoding_still_covers_the_input(
    reduce_to_hw: tuple[int, int], decoded_hw: tuple[int, int]
) -> None:
    source = decode_image(LARGE, ReadOptions(reduce_to_hw=reduce_to_hw))
    assert source.bgr.shape[:2] == decoded_hw
    assert source.size_hw == (1001, 1603)


@pytest.mark.parametrize("orientation", sorted(TURNS))
def test_reduced_decoding_knows_the_size_of_a_turned_image(orientation: int) -> None:
    source = decode_image(with_exif_orientation(LARGE, orientation), ReadOptions(reduce_to_hw=(320, 320)))
    upright = orientation < 5
    assert source.size_hw == ((1001, 1603) if upright else (1603, 1001))
    assert source.bgr.shape[:2] == ((251, 401) if upright else (401, 251))


def test_only_jpegs_are_reduced() -> None:
    source = decode_image(encode(".png", landscape(800, 800)), ReadOptions(reduce_to_hw=(100, 100)))
    assert source.bgr.shape[:2] == (800, 800)
