"""The committed sample set: it regenerates from its seed, agrees with itself, and is as hard as promised."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from data.formats import CocoBoxes, parse_yolo, read_coco
from data.scenes import CLASS_NAMES, SAMPLE
from data.scenes.histogram import histogram_svg, size_histogram
from data.scenes.sample_set import IMAGE_COUNT, label_text, picture_name, pixels_sha256
from data.scenes.series import SIZES_HW
from tests.helpers.paths import ROOT

SAMPLE_FOLDER = ROOT / "data" / "sample"
PROJECT = SAMPLE_FOLDER.parents[1]


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SAMPLE_FOLDER / "manifest.json").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def truth() -> CocoBoxes:
    return read_coco(SAMPLE_FOLDER / "instances.json")


@pytest.mark.parametrize("number", range(0, IMAGE_COUNT, 6))
def test_a_picture_regenerates_from_its_seed(number: int, manifest: dict[str, Any], truth: CocoBoxes) -> None:
    scene = SAMPLE.scene(number)
    entry = manifest["pictures"][number]
    own = truth.box_image == number
    assert np.array_equal(truth.class_id[own], scene.class_id)
    if cv2.__version__.split(".")[0] != manifest["opencv"].split(".")[0]:
        # OpenCV 4 and 5 fill the edge of a polygon differently in about one pixel of a thousand.
        assert np.abs(truth.xyxy[own] - scene.xyxy).max(initial=0) <= 1
        return
    assert pixels_sha256(scene) == entry["pixels_sha256"]
    assert np.array_equal(truth.xyxy[own], scene.xyxy)
    label = SAMPLE_FOLDER / "labels" / f"scene-{number:03}.txt"
    assert label.read_text(encoding="utf-8") == label_text(scene)
    if cv2.__version__ == manifest["opencv"]:
        # Another version of the encoder may write other bytes for the same pixels.
        assert SAMPLE.jpeg(number, scene) == (SAMPLE_FOLDER / "images" / entry["name"]).read_bytes()


def test_the_committed_files_are_those_of_the_manifest(manifest: dict[str, Any]) -> None:
    names = [picture_name(number) for number in range(IMAGE_COUNT)]
    assert sorted(path.name for path in (SAMPLE_FOLDER / "images").iterdir()) == names
    assert [entry["name"] for entry in manifest["pictures"]] == names
    for entry in manifest["pictures"]:
        data = (SAMPLE_FOLDER / "images" / entry["name"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["file_sha256"]


def test_yolo_labels_and_coco_json_say_the_same(truth: CocoBoxes) -> None:
    for number, name in enumerate(truth.image_ids):
        path = SAMPLE_FOLDER / "labels" / Path(name).with_suffix(".txt")
        labels = parse_yolo(path.read_text(encoding="utf-8"), "truth", place=str(path), class_count=3)
        own = truth.box_image == number
        size_hw = (int(truth.size_hw[number, 0]), int(truth.size_hw[number, 1]))
        assert np.array_equal(labels.class_id, truth.class_id[own])
        assert np.allclose(labels.xyxy(size_hw), truth.xyxy[own], atol=1e-5)


def test_the_coco_json_has_the_promised_form(truth: CocoBoxes) -> None:
    assert truth.category_names == CLASS_NAMES == ("car", "person", "bike")
    assert truth.category_ids == (1, 2, 3)
    assert len(truth.image_ids) == IMAGE_COUNT
    assert not truth.crowd.any()
    sides = truth.xyxy[:, 2:] - truth.xyxy[:, :2]
    assert np.array_equal(truth.area, sides[:, 0] * sides[:, 1])


def test_the_set_is_varied_and_hard(truth: CocoBoxes) -> None:
    boxes_an_image = np.bincount(truth.box_image, minlength=IMAGE_COUNT)
    assert np.count_nonzero(boxes_an_image > 30) >= 10
    assert np.mean(truth.area < 32 * 32) >= 0.25
    assert truth.area.max() > 200 * 200
    assert (np.bincount(truth.class_id, minlength=3) >= 150).all()
    scale = 416 / truth.size_hw.max(axis=1)[truth.box_image]
    size_at_416 = np.sqrt(truth.area) * scale
    assert 6.0 <= size_at_416.min() < 8.0
    assert {tuple(size) for size in truth.size_hw.tolist()} == set(SIZES_HW)
    assert len({height / width for height, width in SIZES_HW}) >= 4


def test_the_set_is_small_enough_to_commit() -> None:
    assert sum(path.stat().st_size for path in SAMPLE_FOLDER.rglob("*") if path.is_file()) <= 8_000_000


def test_the_histogram_in_the_documentation_is_the_sets_own(truth: CocoBoxes) -> None:
    counts = size_histogram(np.sqrt(truth.area), truth.class_id)
    assert counts.sum() == len(truth.area)
    drawn = (PROJECT / "docs" / "pictures" / "sample-sizes.svg").read_text(encoding="utf-8")
    assert drawn == histogram_svg(counts, truth.category_names, "Sample set")


def test_a_histogram_counts_a_size_on_an_edge_upwards() -> None:
    counts = size_histogram(np.array([31.99, 32.0, 5.0]), np.array([0, 0, 2], np.int32))
    assert counts[0].tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    assert counts[2].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
