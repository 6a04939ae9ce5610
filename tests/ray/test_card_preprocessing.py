"""A whole job whose images the card is to prepare, SAIL's stand-in in its place: what fell back to the host is counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest

from tests.job_runs import TINY_BMODEL, finished, metrics, options_of, rows


@pytest.mark.simulator
def test_images_that_the_card_refuses_are_counted(
    sail_stand_in: dict[str, str], pictures: Path, tmp_path: Path
) -> None:
    images, run = tmp_path / "images", tmp_path / "run"
    images.mkdir()
    jpeg = next(iter(sorted(pictures.rglob("*.jpg"))))
    for name in ("0.jpg", "1.jpg", "4.jpg"):
        shutil.copy(jpeg, images / name)
    picture = cv2.imread(str(jpeg))
    assert picture is not None
    assert cv2.imwrite(str(images / "2.png"), picture)
    assert cv2.imwrite(str(images / "3.jpg"), picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    (images / "5.jpg").write_bytes(jpeg.read_bytes()[:200])
    options = {
        "images": images,
        "model": TINY_BMODEL,
        "device": "sail",
        "preprocess": "bmcv",
        "max-failed": 1,
        "output": run,
    }
    out = finished(*options_of(options), environment=sail_stand_in)
    assert rows(run, "images").column("prepared_on").to_pylist() == [
        *("card", "card", "host", "host", "card"),
        None,
    ]
    assert metrics(run)["prepared"] == {"card": 3, "host": 2}
    assert "3 on the card, 2 on the host" in out
    assert "3 images prepared on the card (BMCV), 2 on the host" in (run / "report.html").read_text(
        encoding="utf-8"
    )
