"""Before anything runs: every fault of a reproduction is named, and what is not there is said with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmodel.errors import ConfigurationError
from data.formats import write_coco
from jobs.commands.reproduce import reproduce
from jobs.study.reproduction_file import Preparation, Reproduction, prepare
from jobs.study.run_once import read_job_file
from tests.helpers.label_sets import write_files
from tests.helpers.paths import ROOT
from tests.helpers.reproduction_files import COUNT, NAMES, image_set, reproduction, write_yaml

Break = Callable[[Path, dict[str, Any]], object]


def prepared(content: dict[str, Any], folder: Path, *, published: Path | None = None) -> Preparation:
    path = write_yaml(folder / "small.yaml", content)
    return prepare(read_job_file(path, Reproduction), place=path, device=None, published=published)


def test_a_whole_set_up_is_ready(tmp_path: Path) -> None:
    found = prepared(reproduction(image_set(tmp_path)), tmp_path)
    assert found.faults == ()
    assert found.absent == {}
    assert list(found.ready) == ["b-set", "validation"]
    for name, config in found.ready.items():
        assert config.label_format == "competition"
        assert config.output == str(tmp_path / "result" / name)
    assert found.ready["b-set"].ground_truth is None


def lose(name: str) -> Break:
    return lambda folder, _: (folder / name).unlink()


def change(part: str, key: str, value: object) -> Break:
    def apply(_: Path, content: dict[str, Any]) -> None:
        content[part] = {**content[part], key: value}

    return apply


def relabel(line: str) -> Break:
    return lambda folder, _: write_files(folder / "labels", {"image-1.txt": line})


def add(name: str) -> Break:
    return lambda folder, _: (folder / name).write_text("")


def without_truth(folder: Path, content: dict[str, Any]) -> None:
    content["sets"]["validation"]["ground-truth"] = str(folder / "nowhere")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lose("images/image-3.jpg"), "validation: there is no image for 'image-3.txt' in"),
        (lose("labels/image-3.txt"), "validation: there is no label for 'image-3.jpg' in"),
        (add("labels/image-9.txt"), "validation: there is no image for 'image-9.txt' in"),
        (
            change("network", "file", "nowhere.bmodel"),
            "'nowhere.bmodel' is not there; raysail compile makes it",
        ),
        (
            change("network", "class-names", ["car", "person"]),
            "class count: must be 2 ('car', 'person'), got 3",
        ),
        (
            change("network", "class-names", ["bus", "person", "bike"]),
            "class names: must be 'bus', 'person', 'bike'",
        ),
        (
            change("network", "input-hw", [640, 640]),
            "input_hw: must be (640, 640), as published, got (64, 96)",
        ),
        (change("network", "precision", "int8"), "precision: must be int8, as published, got fp32"),
        (change("network", "batch", 4), "batch: must be 4, as published, got 1"),
        (change("network", "file", str(ROOT / "README.md")), "must end in .bmodel or .onnx"),
        (relabel("3 0.5 0.5 0.1 0.1\n"), "class must be a whole number from 0 to 2"),
        (relabel("0 0.5 0.5 0.1\n"), "image-1.txt"),
        (without_truth, "nowhere"),
    ],
)
def test_a_fault_is_named_and_the_command_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Break, words: str
) -> None:
    content = reproduction(image_set(tmp_path))
    damage(tmp_path, content)
    path = write_yaml(tmp_path / "small.yaml", content)
    try:
        code = reproduce(path, published=None, device=None, output=None)
        said = capsys.readouterr().err
    except ConfigurationError as error:
        code, said = 2, str(error)
    assert code == 2
    assert words in said
    assert not (tmp_path / "result").exists()


def test_too_few_images_without_names_to_tell_them_are_counted(tmp_path: Path) -> None:
    content = reproduction(image_set(tmp_path))
    (tmp_path / "images" / "image-3.jpg").unlink()
    assert (
        prepared(content, tmp_path)
        .faults[0]
        .startswith(f"b-set: must have {COUNT} images, got {COUNT - 1} in")
    )


def test_published_files_tell_which_image_is_missing(tmp_path: Path) -> None:
    content = reproduction(image_set(tmp_path))
    published = write_files(tmp_path / "published", {f"image-{number}.txt": "" for number in range(COUNT)})
    assert prepared(content, tmp_path, published=published).faults == ()
    (published / "image-0.txt").unlink()
    (tmp_path / "images" / "image-2.jpg").unlink()
    (tmp_path / "labels" / "image-2.txt").unlink()
    faults = prepared(content, tmp_path, published=published).faults
    assert "there is no image for 'image-2.txt' in" in faults[0]
    assert "there is no published file for 'image-0.jpg' in" in faults[1]


def test_truth_in_one_file_tells_the_same(tmp_path: Path) -> None:
    content = reproduction(image_set(tmp_path))
    truth = tmp_path / "truth.json"
    ids = [f"image-{number}.jpg" for number in range(1, COUNT + 1)]
    write_coco(
        truth,
        image_ids=ids,
        size_hw=[(64, 96)] * COUNT,
        class_names=NAMES,
        box_image=np.array([0]),
        class_id=np.array([0]),
        xyxy=np.array([[1.0, 2.0, 3.0, 4.0]]),
        crowd=np.zeros(1, np.bool_),
        area=np.ones(1),
    )
    content["sets"]["validation"]["ground-truth"] = str(truth)
    first, second = prepared(content, tmp_path).faults
    assert "there is no image for 'image-5.jpg' in" in first
    assert "there is no truth for 'image-0.jpg' in" in second


def test_a_set_that_is_not_there_is_left_out_and_its_place_said(tmp_path: Path) -> None:
    content = reproduction(image_set(tmp_path))
    content["sets"]["b-set"] = {"images": str(tmp_path / "empty"), "count": 102, "about": "JPEG files"}
    for _ in range(2):  # not there, then there and empty
        found = prepared(content, tmp_path)
        assert found.absent == {
            "b-set": f"b-set is not there: put its 102 images (JPEG files) into '{tmp_path / 'empty'}'"
        }
        assert list(found.ready) == ["validation"]
        (tmp_path / "empty").mkdir(exist_ok=True)


def test_without_any_set_there_is_nothing_to_run(tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "small.yaml", reproduction(tmp_path))
    with pytest.raises(
        ConfigurationError, match=r"nothing to run: b-set is not there: put its 5 images into .*labels'"
    ):
        reproduce(path, published=None, device=None, output=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"surplus": 1}, "surplus: is not an option"),
        ({"sets": {}}, "sets: "),
        ({"sets": {"other": {"images": "x", "count": 1}}}, "sets.other"),
        ({"expectations": {"score": {"published": 1, "tolerance": 1}}}, "score needs map50 and i-time-ms"),
        (
            {"expectations": {"map50": {"set": "b-set", "published": 0.5, "tolerance": 0}}},
            "expectations.map50.set: must have ground-truth, and 'b-set' has none",
        ),
        ({"options": {"conf": 7}}, "options.conf: must be less than 1, got 7"),
        ({"options": {"output": "x"}}, "options.output: is already set elsewhere in the file"),
        ({"options": {"label-format": "yolo"}}, "options.label-format: is already set elsewhere"),
        ({"options": {"cnof": 0.5}}, "options.cnof: is not an option of this job"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    content = reproduction(image_set(tmp_path), changes)
    with pytest.raises(ConfigurationError) as caught:
        prepared(content, tmp_path)
    assert words in str(caught.value)
    assert "small.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["bset.yaml", "sample.yaml"])
def test_the_files_that_come_with_the_project_are_sound(name: str) -> None:
    file = read_job_file(ROOT / "jobs" / name, Reproduction)
    assert file.network.class_names == NAMES
    assert file.options["conf"] == 0.001
    assert {one.count for one in file.sets.values()} == {102}


def test_the_published_choice_is_the_published_one() -> None:
    file = read_job_file(ROOT / "jobs" / "bset.yaml", Reproduction)
    expected = file.expectations
    assert (file.network.input_hw, file.network.precision, file.network.batch) == ((640, 640), "fp32", 1)
    assert file.options["preprocess"] == "opencv"
    assert expected.map50 is not None
    assert expected.i_time_ms is not None
    assert expected.score is not None
    assert (expected.map50.published, expected.i_time_ms.published, expected.score.published) == (
        0.774,
        102,
        167.2,
    )
    assert expected.i_time_ms.source == "measured on BM1684"
