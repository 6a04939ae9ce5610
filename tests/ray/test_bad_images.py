"""Bad input is a row with stage and reason, or is handled; the run goes on and nothing hangs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.helpers.image_files import CMYK_JPEG, encode, landscape, png_claiming, with_exif_orientation
from tests.helpers.job_runs import TINY_ONNX, assert_each_once, metrics, options_of, rows, run_here, run_job
from tests.helpers.processes import HANG_S
from tests.ray.conftest import SharedCluster

PICTURE = landscape(480, 640)
JPEG = encode(".jpg", PICTURE)

GOOD = {
    "good.jpg": JPEG,
    "grey.jpg": encode(".jpg", PICTURE[:, :, 1]),
    "cmyk.jpg": CMYK_JPEG,
    "deep.png": encode(".png", PICTURE.astype(np.uint16) * 257),
    "alpha.png": encode(".png", np.dstack([PICTURE, np.full(PICTURE.shape[:2], 77, np.uint8)])),
    "turned.jpg": with_exif_orientation(JPEG, 6),
    "one.png": encode(".png", PICTURE[:1, :1]),
    "long.png": encode(".png", np.resize(PICTURE, (10, 20_000, 3))),
    "tall.png": encode(".png", np.resize(PICTURE, (20_000, 10, 3))),
}
BAD = {
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "truncated"),
    "empty.jpg": (b"", "empty"),
    "text.jpg": (b"this is no picture\n" * 20, "no JPEG, PNG"),
    "bomb.png": (png_claiming(60_000, 60_000), "more than the limit"),
}


@pytest.fixture(scope="module")
def bad_run(
    cluster: SharedCluster, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, dict[str, Any]]]:
    """A run over everything that may lie in a folder of images: its folder, and its rows by image."""
    images = tmp_path_factory.mktemp("bad")
    for name, data in GOOD.items():
        (images / name).write_bytes(data)
    for name, (data, _) in BAD.items():
        (images / name).write_bytes(data)
    (images / "folder.jpg").mkdir()
    (images / "dangling.jpg").symlink_to(images / "nowhere.jpg")
    os.mkfifo(images / "pipe.jpg")
    (images / "notes.txt").write_text("not an image", encoding="utf-8")
    run = tmp_path_factory.mktemp("runs") / "bad"
    done = run_here(
        "detect",
        *options_of({"images": images, "model": TINY_ONNX, "output": run, "address": cluster.address}),
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return run, {row["image_id"]: row for row in rows(run, "images").to_pylist()}


def test_every_entry_has_one_row_and_the_run_is_complete(
    bad_run: tuple[Path, dict[str, dict[str, Any]]],
) -> None:
    run, by_name = bad_run
    assert set(by_name) == {*GOOD, *BAD, "folder.jpg", "dangling.jpg", "pipe.jpg"}
    assert_each_once(run, len(by_name))
    assert (run / "_SUCCESS").exists()
    assert metrics(run)["images"] == {
        "total": len(by_name),
        "ok": len(GOOD),
        "failed": len(BAD) + 3,
        "failures": {"read": len(BAD) + 3},
    }


@pytest.mark.parametrize("name", sorted(GOOD))
def test_unusual_images_go_through(name: str, bad_run: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    row = bad_run[1][name]
    assert (row["status"], row["stage"], row["reason"]) == ("ok", None, None)
    assert (bad_run[0] / "labels" / f"{Path(name).stem}.txt").is_file()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, words) for name, (_, words) in BAD.items()),
        ("folder.jpg", "is a folder"),
        ("dangling.jpg", "No such file"),
        ("pipe.jpg", "not a regular file"),
    ],
)
def test_bad_images_are_rows_with_a_reason(
    name: str, words: str, bad_run: tuple[Path, dict[str, dict[str, Any]]]
) -> None:
    row = bad_run[1][name]
    assert (row["status"], row["stage"]) == ("failed", "read")
    assert words in row["reason"]
    assert row["detections"] == 0
    assert not (bad_run[0] / "labels" / f"{Path(name).stem}.txt").exists()


def test_a_turned_image_has_the_size_and_boxes_of_the_turned_pixels(
    cluster: SharedCluster, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    # Lossless, so that both hold the same pixels: a JPEG turned by EXIF and a PNG of what the eye sees.
    seen = cv2.imdecode(np.frombuffer(with_exif_orientation(JPEG, 6), np.uint8), cv2.IMREAD_COLOR)
    assert seen is not None
    assert seen.shape == (640, 480, 3)
    (images / "exif.jpg").write_bytes(with_exif_orientation(JPEG, 6))
    (images / "seen.png").write_bytes(encode(".png", np.asarray(seen, np.uint8)))
    done = run_job(
        *options_of(
            {"images": images, "model": TINY_ONNX, "output": tmp_path / "run", "address": cluster.address}
        ),
        environment=cluster.environment,
    )
    assert done.returncode == 0, done.stderr
    for row in rows(tmp_path / "run", "images").to_pylist():
        assert (row["height"], row["width"]) == (640, 480)
        assert row["detections"] > 0
    found = rows(tmp_path / "run", "detections").to_pylist()
    sides = ("class_id", "confidence", "x1", "y1", "x2", "y2")
    exif, png = (
        [[row[side] for side in sides] for row in found if row["index"] == index] for index in (0, 1)
    )
    assert exif == png


def test_failures_beyond_the_limit_are_exit_code_3(cluster: SharedCluster, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "good.jpg").write_bytes(JPEG)
    (images / "bad.jpg").write_bytes(b"")
    (images / "worse.jpg").write_bytes(b"x")
    options = {"images": images, "model": TINY_ONNX, "output": tmp_path / "run", "address": cluster.address}
    done = run_here("detect", *options_of({**options, "max-failed": 1}))
    assert done.returncode == 3
    assert "2 failed" in done.stdout
    assert (tmp_path / "run" / "_SUCCESS").exists(), "the run itself is complete"
    again = run_here("detect", *options_of({**options, "max-failed": 2}), "--resume")
    assert again.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_image_without_read_permission_is_a_row(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As a user who is not root, through the detector itself: Python may lie where only root can read it."""
    folder = Path(tmp_path_factory.mktemp("permission"))
    shutil.copy(TINY_ONNX, folder / "tiny.onnx")
    shutil.copy(TINY_ONNX.with_name("tiny.onnx.spec.json"), folder / "tiny.onnx.spec.json")
    (folder / "secret.jpg").write_bytes(JPEG)
    (folder / "secret.jpg").chmod(0o000)
    (folder / "open.jpg").write_bytes(JPEG)
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from bmodel.model_file import load_spec\n"
        "from tpu_worker.detector import Detector, DetectOptions\n"
        "from tpu_worker.devices import DeviceOptions, open_device\n"
        "from tpu_worker.values import ImageRef\n"
        "model = Path('tiny.onnx')\n"
        "device = open_device(DeviceOptions(name='cpu', spec=load_spec(model), model_path=model))\n"
        "names = ('secret.jpg', 'open.jpg')\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "with Detector(device, DetectOptions()) as detector:\n"
        "    for result in detector.detect([ImageRef(index=i, image_id=n, path=n) for i, n in enumerate(names)]):\n"
        "        print(result.image.image_id, result.failure.reason if result.failure else 'ok')\n"
    )
    for parent in [folder, *folder.parents]:
        if parent.owner() == "root" and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TINY_ONNX.parents[1])},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.stdout.splitlines() == [
        "secret.jpg cannot read the file: Permission denied",
        "open.jpg ok",
    ], done.stderr
