"""`raysail evaluate`: anybody's detection files, and finished runs once more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer

from bmodel.errors import ConfigurationError
from data.formats import FormatError
from data.ground_truth import GroundTruth, Scored
from jobs.commands.evaluate import command
from jobs.measure.evaluate_files import evaluate_files
from jobs.measure.evaluation import Evaluation
from jobs.measure.mean_ap import evaluate
from tests.helpers.evaluation_files import NAMES, coco_json, figures, image_folder, known_set, label_folder
from tests.helpers.label_sets import random_truth, write_files


@pytest.fixture
def known() -> tuple[GroundTruth, Scored]:
    """Truth of 8 images, and detections better than chance."""
    return known_set()


@pytest.mark.parametrize("label_format", ["yolo", "yolo-conf-second"])
def test_yolo_files_score_as_the_detections_did(
    label_format: Any, known: tuple[GroundTruth, Scored], tmp_path: Path
) -> None:
    truth, found = known
    folder = label_folder(truth, found, label_format, tmp_path / "labels")
    result = evaluate_files(folder, label_format, ground_truth=coco_json(truth, tmp_path))
    expected = evaluate(truth, found)
    assert result.map.coco.ap == pytest.approx(expected.coco.ap, abs=1e-6)
    assert result.map.yolo.ap == pytest.approx(expected.yolo.ap, abs=1e-6)
    assert result.map.voc.ap50 == pytest.approx(expected.voc.ap50, abs=1e-6)
    assert (result.images, result.objects, result.detections) == (8, 40, len(found))
    assert (result.i_time_ms, result.i_time_source, result.score) == (None, "none", None)


def test_the_competitions_files_bring_their_time_and_so_a_score(
    known: tuple[GroundTruth, Scored], tmp_path: Path
) -> None:
    truth, found = known
    folder = label_folder(truth, found, "competition", tmp_path / "labels")
    result = evaluate_files(folder, "competition", ground_truth=coco_json(truth, tmp_path))
    voc = evaluate(truth, found).voc.ap50
    assert result.map.voc.ap50 == voc
    assert voc
    assert result.i_time_ms == pytest.approx(103.5)
    assert result.score == pytest.approx(voc * 100 + (1000 - 103.5) * 0.1)


def test_the_three_forms_of_truth_agree(known: tuple[GroundTruth, Scored], tmp_path: Path) -> None:
    truth, found = known
    folder = label_folder(truth, found, "yolo", tmp_path / "labels")
    labels = label_folder(truth, None, "truth", tmp_path / "truth")
    images = str(image_folder(truth, tmp_path / "images"))
    by_json = evaluate_files(folder, "yolo", ground_truth=coco_json(truth, tmp_path))
    by_labels = evaluate_files(folder, "yolo", ground_truth=labels, images=images)
    assert figures(by_labels) == pytest.approx(figures(by_json), abs=1e-6)


def test_a_run_that_found_nothing_and_images_without_files(tmp_path: Path) -> None:
    truth = replace(random_truth(3, images=4, objects=12, classes=3), class_names=NAMES)
    folder = write_files(tmp_path / "labels", {"0000.txt": ""})
    result = evaluate_files(folder, "yolo", ground_truth=coco_json(truth, tmp_path))
    assert (result.images, result.detections, result.map.voc.ap50) == (4, 0, 0.0)


def test_images_that_the_json_does_not_list_are_left_out(
    known: tuple[GroundTruth, Scored], tmp_path: Path
) -> None:
    truth, found = known
    images = image_folder(truth, tmp_path / "images")
    (images / "unlisted.jpg").write_bytes((images / "0000.jpg").read_bytes())
    folder = label_folder(truth, found, "yolo", tmp_path / "labels")
    write_files(folder, {"unlisted.txt": "0 0.5 0.5 0.5 0.5 0.99\n" * 50})
    path = coco_json(truth, tmp_path)
    result = evaluate_files(folder, "yolo", ground_truth=path, images=str(images))
    assert (result.images, result.detections) == (8, len(found))
    assert figures(result) == figures(evaluate_files(folder, "yolo", ground_truth=path))


def test_numbers_and_names_need_somebody_to_say_which_is_which(
    known: tuple[GroundTruth, Scored], tmp_path: Path
) -> None:
    truth, found = known
    named = label_folder(truth, found, "competition", tmp_path / "named")
    numbered = label_folder(truth, found, "yolo", tmp_path / "numbered")
    labels = label_folder(truth, None, "truth", tmp_path / "truth")
    voc_tool = write_files(tmp_path / "voc", {"0000.txt": "class2 1 1 50 50\n"})
    images = str(image_folder(truth, tmp_path / "images"))
    with pytest.raises(
        ConfigurationError, match="--class-names: is required, since the truth has class numbers"
    ):
        evaluate_files(named, "competition", ground_truth=labels, images=images)
    with pytest.raises(
        ConfigurationError, match="--class-names: is required, since the truth has class names"
    ):
        evaluate_files(numbered, "yolo", ground_truth=voc_tool, images=images)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(NAMES))
    by_name = evaluate_files(named, "competition", ground_truth=labels, images=images, class_names=names)
    assert by_name.map.voc.ap50 == pytest.approx(evaluate(truth, found).voc.ap50, abs=0.02)


def test_without_sizes_yolo_labels_ask_for_the_images(
    known: tuple[GroundTruth, Scored], tmp_path: Path
) -> None:
    truth, found = known
    labels = label_folder(truth, None, "truth", tmp_path / "truth")
    folder = label_folder(truth, found, "yolo", tmp_path / "labels")
    with pytest.raises(ConfigurationError, match="--images: is required, since YOLO labels are fractions"):
        evaluate_files(folder, "yolo", ground_truth=labels)


def test_the_image_is_as_large_as_the_detector_saw_it(tmp_path: Path) -> None:
    """EXIF turns it by a quarter: 40 rows of 20 pixels, not 20 of 40."""
    from tests.helpers.image_files import with_exif_orientation

    _, encoded = cv2.imencode(".jpg", np.zeros((20, 40, 3), np.uint8))
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(with_exif_orientation(encoded.tobytes(), 6))
    truth = write_files(tmp_path / "truth", {"a.txt": "car 1 1 11 21\n"})
    found = write_files(tmp_path / "found", {"a.txt": "0 0.25 0.25 0.5 0.5 0.9\n"})
    names = tmp_path / "names.txt"
    names.write_text("car")
    result = evaluate_files(found, "yolo", ground_truth=truth, images=str(images), class_names=names)
    assert result.map.coco.ap == pytest.approx(1.0)


def test_files_of_other_images_and_classes_are_refused(
    known: tuple[GroundTruth, Scored], tmp_path: Path
) -> None:
    truth, _ = known
    other = write_files(tmp_path / "other", {"z.txt": "class0 0.9 1 1 9 9\n"})
    voc_tool = write_files(tmp_path / "voc", {"0000.txt": "class0 1 1 9 9\n"})
    with pytest.raises(FormatError, match="must be of the same images"):
        evaluate_files(other, "competition", ground_truth=voc_tool)
    spelt = write_files(tmp_path / "spelt", {"0000.txt": "Class0 0.9 1 1 9 9\n"})
    with pytest.raises(
        FormatError, match="the classes must be the truth's, 'class0', 'class1', 'class2', got 'Class0'"
    ):
        evaluate_files(spelt, "competition", ground_truth=coco_json(truth, tmp_path))


HERE = Path(__file__).parent

BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({}, "RUN or --detections: exactly one of the two must be given"),
    ({"run": "r", "detections": HERE}, "RUN or --detections: exactly one of the two must be given"),
    ({"run": "r", "label_format": "yolo"}, "--label-format: is only for --detections"),
    ({"run": "r", "images": "i"}, "--images: is only for --detections"),
    ({"run": "r", "class_names": HERE}, "--class-names: is only for --detections"),
    ({"detections": HERE / "no", "label_format": "yolo"}, "--detections: must be a folder"),
    ({"detections": HERE, "ground_truth": HERE}, "--label-format: is required with --detections"),
    ({"detections": HERE, "label_format": "yolo"}, "--ground-truth: is required with --detections"),
    ({"run": "r", "ground_truth": HERE / "no"}, "--ground-truth: must be a file or folder"),
    ({"run": str(HERE / "no")}, "RUN: must be the folder of a run"),
    ({"run": str(HERE)}, "holds no run.json"),
]


@pytest.mark.parametrize(("options", "rule"), BAD_OPTIONS)
def test_wrong_options_are_told(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigurationError, match=rule):
        command(**options)


def test_the_command_prints_a_table_or_json(
    known: tuple[GroundTruth, Scored], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, found = known
    folder = label_folder(truth, found, "competition", tmp_path / "labels")
    app = typer.Typer()
    app.command()(command)
    path = str(coco_json(truth, tmp_path))
    arguments = ["--detections", str(folder), "--label-format", "competition", "--ground-truth", path]
    app(arguments, standalone_mode=False)
    table = capsys.readouterr().out
    assert "i_time (ms)     103.50 (time_cost_ms of the files)" in table
    app([*arguments, "--json", "--evaluator", "pycocotools"], standalone_mode=False)
    result = Evaluation.model_validate_json(capsys.readouterr().out)
    assert f"VOC protocol    AP50 {result.map.voc.ap50:.4f}, 3 classes" in table
