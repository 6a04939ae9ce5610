"""Truth and detections of a set, from whatever they lie in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.formats import FormatError
from data.ground_truth import read_ground_truth
from tests.helpers.label_sets import write_files

NAMES = ("car", "traffic light", "bike")
IMAGES = {"a.jpg": (100, 200), "x/b.png": (50, 80), "x/c.jpg": (10, 10)}


def coco_json(tmp_path: Path, **changes: Any) -> Path:
    content = {
        "images": [
            {"id": 5, "file_name": "x/b.png", "height": 50, "width": 80},
            {"id": 6, "file_name": "a.jpg", "height": 100, "width": 200},
            {"id": 7, "file_name": "not in the run.jpg", "height": 9, "width": 9},
        ],
        "categories": [
            {"id": 3, "name": "bike"},
            {"id": 1, "name": "traffic_light"},
            {"id": 9, "name": "never there"},
        ],
        "annotations": [
            {"image_id": 6, "category_id": 1, "bbox": [10, 20, 30, 40], "area": 700},
            {"image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1},
            {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]},
        ],
        **changes,
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return path


def test_a_coco_json_is_matched_to_the_detectors_classes_by_name(tmp_path: Path) -> None:
    truth = read_ground_truth(coco_json(tmp_path), images=IMAGES, class_names=NAMES)
    assert truth.class_names == NAMES
    assert truth.image_ids == ("a.jpg", "x/b.png")  # the order of the run
    assert truth.box_image.tolist() == [0, 1]
    assert truth.class_id.tolist() == [1, 2]
    assert truth.xyxy.tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]
    assert truth.crowd.tolist() == [False, True]
    assert truth.area.tolist() == [700, 12]
    assert (truth.unmatched, truth.unlisted) == (1, 1)


def test_without_class_names_a_coco_json_brings_its_own_in_the_order_of_its_ids(tmp_path: Path) -> None:
    truth = read_ground_truth(coco_json(tmp_path), images=IMAGES)
    assert truth.class_names == ("traffic_light", "bike", "never there")
    assert truth.class_id.tolist() == [0, 1]


def test_a_category_that_the_detector_does_not_know_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        read_ground_truth(coco_json(tmp_path), images=IMAGES, class_names=("car", "Bike"))
    assert str(caught.value) == (
        f"{tmp_path / 'instances.json'}: every category with objects must be a class of the detector "
        "('car', 'Bike'), got 'bike', 'traffic_light'"
    )


def test_class_names_that_differ_by_spaces_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="must differ by more than spaces, got 'a b' and 'a_b'"):
        read_ground_truth(coco_json(tmp_path), images=IMAGES, class_names=("a b", "a_b"))


def test_a_coco_json_of_other_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"must be names like 'val/a.jpg', the images' own, got 'x/b.png'"):
        read_ground_truth(coco_json(tmp_path), images={"val/a.jpg": (100, 200)}, class_names=NAMES)


def yolo_folder(tmp_path: Path) -> Path:
    return write_files(
        tmp_path / "labels",
        {
            "a.txt": "1 0.5 0.5 0.5 0.5\n0 0.1 0.1 0.2 0.2\n",
            "x/b.png.txt": "2 0.25 0.5 0.5 1\n",
            "classes.txt": "car\n",
        },
    )


def test_a_folder_of_yolo_labels(tmp_path: Path) -> None:
    truth = read_ground_truth(yolo_folder(tmp_path), images=IMAGES, class_names=NAMES)
    assert truth.image_ids == tuple(IMAGES)
    assert truth.box_image.tolist() == [0, 0, 1]
    assert truth.class_id.tolist() == [1, 0, 2]
    assert np.allclose(truth.xyxy, [[50, 25, 150, 75], [0, 0, 40, 20], [0, 0, 40, 50]])
    assert np.allclose(truth.area, [5000, 800, 2000])
    assert not truth.crowd.any()
    assert (truth.unmatched, truth.unlisted) == (1, 0)  # classes.txt is no image's


def test_a_missing_label_file_means_no_objects(tmp_path: Path) -> None:
    truth = read_ground_truth(yolo_folder(tmp_path), images={**IMAGES, "d.jpg": None}, class_names=NAMES)
    assert "d.jpg" in truth.image_ids
    assert 3 not in truth.box_image


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="the folder of labels must exist"):
        read_ground_truth(tmp_path / "nowhere", images=IMAGES)


def test_labels_of_other_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="label files must be named after the images"):
        read_ground_truth(yolo_folder(tmp_path), images={"other.jpg": (1, 1)})


def test_an_empty_folder_means_images_without_objects(tmp_path: Path) -> None:
    truth = read_ground_truth(write_files(tmp_path / "labels", {}), images=IMAGES, class_names=NAMES)
    assert (len(truth.image_ids), len(truth.xyxy)) == (3, 0)


def test_an_objects_image_must_have_a_size(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"the size of 'a.jpg' must be known"):
        read_ground_truth(yolo_folder(tmp_path), images={**IMAGES, "a.jpg": None}, class_names=NAMES)


def test_a_class_that_the_detector_has_not_is_told_by_file_and_line(tmp_path: Path) -> None:
    folder = yolo_folder(tmp_path)
    with pytest.raises(FormatError, match=r"b.png.txt:1: class must be a whole number from 0 to 1, got 2"):
        read_ground_truth(folder, images=IMAGES, class_names=("car", "person"))


def voc_folder(tmp_path: Path, first: str = "traffic_light 1 1 10 20") -> Path:
    return write_files(tmp_path / "ground-truth", {"a.txt": f"{first}\ncar 5 5 9 9\n", "x/b.txt": ""})


def test_a_folder_of_the_voc_tools_files_is_known_by_its_content(tmp_path: Path) -> None:
    images = dict.fromkeys(IMAGES)  # pixels need no image size
    truth = read_ground_truth(voc_folder(tmp_path), images=images, class_names=NAMES)
    assert truth.class_id.tolist() == [1, 0]
    assert truth.xyxy.tolist() == [[0, 0, 9, 19], [4, 4, 8, 8]]
    nameless = read_ground_truth(voc_folder(tmp_path), images=images)
    assert nameless.class_names == ("car", "traffic_light")
    assert nameless.class_id.tolist() == [1, 0]


def test_a_class_of_the_voc_tools_files_that_the_detector_has_not_is_told(tmp_path: Path) -> None:
    folder = voc_folder(tmp_path, "Car 1 1 10 20")
    with pytest.raises(
        FormatError, match=r"a.txt:1: class_name must be one of 'car', 'traffic_light', 'bike', got 'Car'"
    ):
        read_ground_truth(folder, images=IMAGES, class_names=NAMES)


@pytest.mark.parametrize(
    ("line", "named"),
    [("0 0.5 0.5 0.2 0.2", False), ("0 1 1 1 1", False), ("0 10 10 20 20", True), ("car 0 0 1 1", True)],
)
def test_the_first_line_decides_between_the_two(line: str, named: bool, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "labels", {"a.txt": "\n" + line, "x/c.txt": ""})
    truth = read_ground_truth(folder, images=IMAGES)
    assert len(truth.xyxy) == 1
    assert (truth.class_names is not None) == named


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("0 0.5 0.5 0.2", "`class cx cy w h`, got 4 fields"),
        ("0 0.5 0.5 0.2 0.2 0.9", "`class cx cy w h`, got 6 fields"),
        ("0 nan 0.5 0.2 0.2", "a finite number, got 'nan'"),
        ("car 1 1 10", "`class_name left top right bottom`, got 4 fields"),
        ("0 1 1 10", "`class_name left top right bottom`, got 4 fields"),
    ],
)
def test_a_bad_first_line_is_told_as_what_it_was_meant_to_be(line: str, rule: str, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "labels", {"a.txt": line})
    with pytest.raises(FormatError, match=re.escape(rule)):
        read_ground_truth(folder, images=IMAGES)


def test_two_images_of_one_stem_in_two_folders_keep_apart(tmp_path: Path) -> None:
    images = {"day/a.jpg": (10, 10), "night/a.jpg": (10, 10)}
    folder = write_files(
        tmp_path / "labels", {"day/a.txt": "0 0.5 0.5 1 1", "night/a.txt": "1 0.5 0.5 1 1\n1 0.5 0.5 1 1"}
    )
    truth = read_ground_truth(folder, images=images, class_names=NAMES)
    assert list(zip(truth.box_image.tolist(), truth.class_id.tolist(), strict=True)) == [
        (0, 0),
        (1, 1),
        (1, 1),
    ]


@pytest.mark.photographs
def test_labels_and_json_of_the_photographs_agree(photographs: Path) -> None:
    from data.formats import read_coco

    coco = read_coco(photographs / "instances.json")
    images = {name: (int(h), int(w)) for name, (h, w) in zip(coco.image_ids, coco.size_hw, strict=True)}
    from_json = read_ground_truth(
        photographs / "instances.json", images=images, class_names=coco.category_names
    )
    from_labels = read_ground_truth(photographs / "labels", images=images, class_names=coco.category_names)
    assert int(from_json.crowd.sum()) == 7
    single = ~from_json.crowd
    assert len(from_labels.xyxy) == single.sum() == 423
    ours, theirs = (
        np.column_stack([truth.box_image[rows], truth.class_id[rows], truth.xyxy[rows]])
        for truth, rows in ((from_labels, slice(None)), (from_json, single))
    )
    ours, theirs = (table[np.lexsort(np.round(table[:, :5]).T[::-1])] for table in (ours, theirs))
    assert np.array_equal(ours[:, :2], theirs[:, :2])
    assert np.abs(ours - theirs).max() < 0.01
