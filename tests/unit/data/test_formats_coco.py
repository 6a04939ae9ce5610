"""COCO JSON: what is read, what is written, what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.formats import (
    FormatError,
    format_coco_results,
    read_coco,
    write_coco,
)

Document = dict[str, Any]


def document() -> Document:
    return {
        "images": [
            {"id": 7, "file_name": "b.jpg", "height": 480, "width": 640},
            {"id": 3, "file_name": "./day/a.jpg", "height": 100, "width": 50},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 90, "bbox": [1, 2, 30.5, 40], "area": 600, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 10, 10], "iscrowd": 1},
        ],
    }


def saved(tmp_path: Path, content: Document) -> Path:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return path


def test_reads_a_coco_json_as_columns(tmp_path: Path) -> None:
    coco = read_coco(saved(tmp_path, document()))
    assert coco.image_ids == ("b.jpg", "day/a.jpg")
    assert coco.size_hw.tolist() == [[480, 640], [100, 50]]
    assert (coco.category_names, coco.category_ids) == (("person", "toothbrush"), (1, 90))
    assert coco.box_image.tolist() == [1, 0]
    assert coco.class_id.tolist() == [1, 0]
    assert coco.xyxy.tolist() == [[1, 2, 31.5, 42], [0, 0, 10, 10]]
    assert coco.crowd.tolist() == [False, True]
    assert coco.area.tolist() == [600, 100]


def change(*path: str | int, value: object) -> Callable[[Document], object]:
    def apply(content: Document) -> None:
        target: Any = content
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return apply


BAD_COCO: list[tuple[Callable[[Document], object], str]] = [
    (lambda content: content.pop("images"), "images must be a list"),
    (change("categories", value={}), "categories must be a list"),
    (change("annotations", 1, value=[]), r"annotations\[1\] must be an object"),
    (change("images", 0, "file_name", value="../b.jpg"), "must be relative and stay inside its folder"),
    (change("images", 0, "file_name", value="/etc/b.jpg"), "must be relative and stay inside its folder"),
    (change("images", 0, "file_name", value="a/../../b.jpg"), "must be relative and stay inside its folder"),
    (change("images", 0, "file_name", value="a\0b.jpg"), "must be relative and stay inside its folder"),
    (change("images", 0, "file_name", value=""), "must be relative and stay inside its folder"),
    (change("images", 0, "file_name", value=9), r"images\[0\].file_name must be a text, got 9"),
    (change("images", 0, "file_name", value="day/a.jpg"), r"images\[1\].file_name must not repeat"),
    (change("images", 1, "id", value=7), r"images\[1\].id must not repeat, got 7 again"),
    (change("images", 1, "id", value="3"), r"images\[1\].id must be a whole number, got '3'"),
    (change("images", 1, "id", value=-(10**4000)), r"images\[1\].id must be at most 9223372036854775807"),
    (change("annotations", 0, "image_id", value=10**4000), r"annotations\[0\].image_id must be"),
    (change("images", 1, "height", value=0), r"images\[1\] must have a height and a width from 1"),
    (change("images", 1, "width", value=10**30), r"images\[1\] must have a height and a width from 1"),
    (change("images", 1, "width", value=50.5), r"images\[1\].width must be a whole number, got 50.5"),
    (change("categories", 0, "name", value=None), r"categories\[0\].name must be a text, got None"),
    (change("categories", 0, "id", value=1), r"categories\[1\].id must not repeat"),
    (
        change("annotations", 0, "image_id", value=4),
        r"annotations\[0\].image_id must be an id of images, got 4",
    ),
    (change("annotations", 0, "image_id", value=[]), r"annotations\[0\].image_id must be an id of images"),
    (
        change("annotations", 1, "category_id", value=2),
        r"annotations\[1\].category_id must be an id of categories",
    ),
    (change("annotations", 0, "bbox", value=[1, 2, 3]), r"annotations\[0\].bbox must be four finite numbers"),
    (
        change("annotations", 0, "bbox", value=[1, 2, 3, "4"]),
        r"annotations\[0\].bbox must be four finite numbers",
    ),
    (
        change("annotations", 0, "bbox", value=[1, 2, 3, True]),
        r"annotations\[0\].bbox must be four finite numbers",
    ),
    (change("annotations", 0, "bbox", value=[1, 2, float("nan"), 4]), r"bbox must be four finite numbers"),
    (change("annotations", 0, "bbox", value=[1, 2, 10**400, 4]), r"bbox must be four finite numbers"),
    (
        change("annotations", 0, "bbox", value=[1, 2, -3, 4]),
        r"annotations\[0\].bbox must not have a negative size",
    ),
    (change("annotations", 0, "area", value=-1), r"annotations\[0\].area must be a number from 0, got -1"),
    (change("annotations", 0, "area", value=float("inf")), r"annotations\[0\].area must be a number from 0"),
]


@pytest.mark.parametrize(("damage", "rule"), BAD_COCO)
def test_a_bad_coco_entry_is_told(damage: Callable[[Document], object], rule: str, tmp_path: Path) -> None:
    content = document()
    damage(content)
    path = saved(tmp_path, content)
    with pytest.raises(FormatError, match=rule) as caught:
        read_coco(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b'{"images": [\n\n oops', "instances.json:3: the file must be JSON"),
        (b"[]", "must be an object with images, annotations and categories"),
        (b'{"images": "\xff"}', "must be UTF-8 JSON"),
        (b"[" * 200_000, "must be"),
        (b"", "instances.json:1: the file must be JSON"),
    ],
)
def test_what_is_no_coco_json_is_refused(content: bytes, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=rule):
        read_coco(path)


def test_a_pipe_is_no_coco_json(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(FormatError, match="must be a regular file"):
        read_coco(tmp_path / "pipe.json")


def test_a_written_coco_json_reads_back(tmp_path: Path) -> None:
    before = read_coco(saved(tmp_path, document()))
    path = tmp_path / "written.json"
    write_coco(
        path,
        image_ids=before.image_ids,
        size_hw=[(480, 640), (100, 50)],
        class_names=before.category_names,
        box_image=before.box_image,
        class_id=before.class_id,
        xyxy=before.xyxy,
        crowd=before.crowd,
        area=before.area,
    )
    after = read_coco(path)
    assert (after.image_ids, after.category_names) == (before.image_ids, before.category_names)
    assert after.category_ids == (1, 2)
    for name in ("size_hw", "box_image", "class_id", "xyxy", "crowd", "area"):
        assert np.array_equal(getattr(after, name), getattr(before, name)), name


def test_results_are_cocos_own_format() -> None:
    text = format_coco_results(
        np.array([7, 3]),
        np.array([90, 1]),
        np.array([[1, 2, 31.5, 42], [0, 0, 10, 10]], np.float32),
        np.array([0.5, 0.25], np.float32),
    )
    assert json.loads(f"[{text}]") == [
        {"image_id": 7, "category_id": 90, "bbox": [1, 2, 30.5, 40], "score": 0.5},
        {"image_id": 3, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.25},
    ]
    nothing = format_coco_results(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0))
    assert json.loads(f"[{nothing}]") == []


def test_a_number_of_thousands_of_digits_is_told(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text('{"images": [{"id": ' + "1" * 5_001 + "}]}")
    with pytest.raises(FormatError, match="must be UTF-8 JSON"):
        read_coco(path)
