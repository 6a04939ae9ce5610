"""Sizes of a folder's images, in the frame that detectors see."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.formats import FormatError
from data.image_sizes import image_sizes
from tests.helpers.image_files import with_exif_orientation


def jpeg(height: int, width: int) -> bytes:
    _, encoded = cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))
    return encoded.tobytes()


def test_sizes_by_relative_path(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/b.JPG").write_bytes(jpeg(20, 30))
    (tmp_path / "a.jpg").write_bytes(jpeg(50, 10))
    (tmp_path / "notes.txt").write_text("no image")
    assert list(image_sizes(tmp_path).items()) == [("a.jpg", (50, 10)), ("x/b.JPG", (20, 30))]


def test_an_image_is_as_large_as_its_exif_orientation_turns_it(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(with_exif_orientation(jpeg(20, 30), 6))
    assert image_sizes(tmp_path) == {"a.jpg": (30, 20)}


def test_what_is_no_image_is_told_and_a_pipe_never_waited_for(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(FormatError, match=r"broken.jpg': it is damaged or not an image"):
        image_sizes(tmp_path)
    (tmp_path / "broken.jpg").unlink()
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(FormatError, match=r"an image must be a regular file, got '.*pipe.jpg'"):
        image_sizes(tmp_path)


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="must hold at least one image"):
        image_sizes(tmp_path)
    with pytest.raises(FormatError, match="the folder of images must exist"):
        image_sizes(tmp_path / "nowhere")
