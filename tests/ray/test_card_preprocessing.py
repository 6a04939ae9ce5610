"""A whole job whose images the card is to prepare, SAIL's stand-in in its place: what fell back to the host is counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest

from tests.helpers.job_runs import TINY_BMODEL, assert_each_once, finished, metrics, options_of, rows, run_job
from tests.ray.chaos.card_cluster import card_cluster


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
        "label-format": "competition",
        "max-failed": 1,
        "output": run,
    }
    done = run_job(*options_of(options), environment=sail_stand_in)
    assert done.returncode == 0, done.stderr
    assert rows(run, "images").column("prepared_on").to_pylist() == [
        *("card", "card", "host", "host", "card"),
        None,
    ]
    assert metrics(run)["prepared"] == {"card": 3, "host": 2}
    assert "3 on the card, 2 on the host" in done.stdout
    assert "3 images prepared on the card (BMCV), 2 on the host" in (run / "report.html").read_text(
        encoding="utf-8"
    )
    # The CPU's times are not the card's, whatever the device is called.
    assert " is the chip simulator, not a card: its times are not the chip's" in done.stderr
    assert metrics(run)["device"] == "sail"
    assert metrics(run)["latency"]["i_time_source"] == "predicted by the compiler's schedule"
    assert "Inference is the simulator device" in (run / "report.html").read_text(encoding="utf-8")
    labels = (run / "labels" / "0.txt").read_text(encoding="utf-8")
    assert labels
    predicted_ms = metrics(run)["latency"]["i_time_ms"]
    assert {line.split()[-1] for line in labels.splitlines()} == {f"{predicted_ms:.6f}"}


@pytest.mark.simulator
def test_a_driver_without_card_or_sail_leaves_both_to_the_workers(
    sail_stand_in: dict[str, str], pictures: Path, tmp_path: Path
) -> None:
    run, none = tmp_path / "run", tmp_path / "none"
    options = {"images": pictures, "model": TINY_BMODEL, "preprocess": "bmcv", "limit": 6}
    with card_cluster(hosts=0) as cluster:
        to_cluster = {**options, "address": cluster.address}
        # Neither has the cluster a card as yet.
        refused = run_job(*options_of({**to_cluster, "output": none}))
        assert refused.returncode == 2
        assert refused.stderr.splitlines()[-1].endswith("preprocess: bmcv needs a card, and none was found")
        assert not none.exists()
        cluster.add_host((0,), virtual=False, environment=sail_stand_in)
        finished(*options_of({**to_cluster, "output": run}))
    assert_each_once(run, 6)
    found = metrics(run)
    assert found["device"] == "sail"
    assert found["prepared"] == {"card": 6, "host": 0}
    refused = run_job(*options_of({**options, "output": none}))
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith("preprocess: bmcv needs a card, and none was found")
