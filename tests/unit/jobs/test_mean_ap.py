"""The YOLO and the VOC protocol: by hand, and against slow programs that follow their descriptions step by step."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.detection_files import read_detections
from data.formats import format_labels
from data.ground_truth import GroundTruth, Scored, read_ground_truth
from jobs.measure.match import objects_without_crowds, rank
from jobs.measure.mean_ap import evaluate
from jobs.measure.voc import voc_ap
from jobs.measure.yolo import yolo_ap
from tests.helpers.label_sets import Box, detections_near, random_truth, scored_of, truth_of, write_files
from tests.helpers.slow_mean_ap import slow_voc_ap50, slow_yolo_ap

NAMES = ("car", "person", "bike")
FAR: Box = (200, 200, 240, 240)


def voc_of_class(truth: GroundTruth, detections: Scored) -> float:
    return voc_ap(truth, detections, NAMES).per_class["car"].ap50


@pytest.mark.parametrize("seed", range(6))
def test_voc_equals_the_slow_program(seed: int) -> None:
    truth = random_truth(seed, crowds=0.1)
    detections = detections_near(truth, seed + 100, steps=50 if seed % 2 else None)
    fast = voc_ap(truth, detections, truth.class_names or ())
    assert fast.per_class
    for name, entry in fast.per_class.items():
        slow = slow_voc_ap50(truth, detections, int(name.split()[1]))
        assert entry.ap50 == pytest.approx(slow, abs=1e-12), name
    assert fast.ap50 == pytest.approx(np.mean([entry.ap50 for entry in fast.per_class.values()]))


@pytest.mark.parametrize("seed", range(4))
def test_yolo_equals_the_slow_program(seed: int) -> None:
    truth = random_truth(seed, objects=60, crowds=0.1)
    detections = detections_near(truth, seed + 100, copies=3, steps=50 if seed % 2 else None)
    fast = yolo_ap(truth, detections, truth.class_names or ())
    assert fast.per_class
    for name, entry in fast.per_class.items():
        slow = [slow_yolo_ap(truth, detections, int(name.split()[1]), t) for t in np.linspace(0.5, 0.95, 10)]
        assert entry.ap50 == pytest.approx(slow[0], abs=1e-12), name
        assert entry.ap == pytest.approx(np.mean(slow), abs=1e-12), name


def test_a_truth_is_found_once_and_the_second_box_on_it_is_wrong() -> None:
    truth = truth_of([(0, 0, (0, 0, 20, 20)), (0, 0, FAR)])
    twice = scored_of([(0, 0, 0.9, (0, 0, 20, 20)), (0, 0, 0.8, (1, 0, 20, 20)), (0, 0, 0.7, FAR)])
    assert voc_of_class(truth, twice) == pytest.approx((1 + 2 / 3) / 2)


def test_a_box_looks_at_one_object_alone() -> None:
    """Its best object is taken, and though it overlaps the second one enough, it finds nothing."""
    truth = truth_of([(0, 0, (0, 0, 20, 20)), (0, 0, (0, 4, 20, 24))])
    both_on_the_first = scored_of([(0, 0, 0.9, (0, 0, 20, 20)), (0, 0, 0.8, (0, 1, 20, 21))])
    assert voc_of_class(truth, both_on_the_first) == pytest.approx(0.5)


def test_the_more_confident_box_finds_the_object_not_the_better_one() -> None:
    truth = truth_of([(0, 0, (0, 0, 20, 20))])
    loose_first = scored_of([(0, 0, 0.9, (0, 0, 20, 28)), (0, 0, 0.8, (0, 0, 20, 20))])
    entry = yolo_ap(truth, loose_first, NAMES).per_class["car"]
    assert entry.ap50 == pytest.approx(1.0, abs=0.01)
    # The loose box drops out above IoU 20/28, where the tight one comes second.
    assert entry.ap == pytest.approx((5 * 1.0 + 5 * 0.5) / 10, abs=0.01)


def test_voc_scores_whole_pixels_with_both_edges_in_the_box() -> None:
    truth = truth_of([(0, 0, (0, 0, 10.9, 10.9))])
    half = scored_of([(0, 0, 0.9, (0, 0, 10, 5))])
    assert voc_of_class(truth, half) == 1.0  # 11 · 6 of 11 · 11 pixels
    assert yolo_ap(truth, half, NAMES).ap50 == 0.0  # 50 of 118.81


def test_crowds_are_no_objects_and_excuse_nobody() -> None:
    truth = truth_of([(0, 0, (0, 0, 20, 20)), (0, 0, FAR)], crowd=[False, True])
    detections = scored_of([(0, 0, 0.9, FAR), (0, 0, 0.8, (0, 0, 20, 20))])
    assert voc_of_class(truth, detections) == pytest.approx(0.5)
    assert voc_ap(truth, detections, NAMES).per_class["car"].objects == 1


def test_precision_and_recall_are_told_where_f1_is_highest() -> None:
    truth = truth_of([(0, 0, (0, 0, 20, 20)), (0, 0, FAR)])
    detections = scored_of([(0, 0, 0.9, (0, 0, 20, 20)), (0, 0, 0.6, FAR), (0, 0, 0.3, (100, 0, 130, 30))])
    result = yolo_ap(truth, detections, NAMES)
    assert result.precision == pytest.approx(1.0, abs=0.01)
    assert result.recall == pytest.approx(1.0, abs=0.01)


def test_averages_are_over_classes_with_objects() -> None:
    truth = truth_of([(0, 0, (0, 0, 20, 20)), (0, 2, FAR)])
    result = evaluate(truth, scored_of([(0, 0, 0.9, (0, 0, 20, 20)), (0, 1, 0.9, FAR)]))
    assert (
        list(result.voc.per_class)
        == list(result.yolo.per_class)
        == list(result.coco.per_class)
        == ["car", "bike"]
    )
    assert result.voc.ap50 == pytest.approx(0.5)
    assert result.yolo.per_class["bike"].ap50 == 0.0
    assert result.coco.ap50 == pytest.approx(0.5)


def test_without_objects_nothing_is_measured() -> None:
    result = evaluate(truth_of([], images=2), scored_of([(1, 0, 0.9, FAR)]))
    assert result.voc.ap50 is None
    assert result.yolo.ap50 is None
    assert result.yolo.precision is None
    assert result.coco.ap is None
    assert not result.voc.per_class


def test_without_detections_everything_is_missed() -> None:
    result = evaluate(truth_of([(0, 0, FAR)]), Scored.empty())
    assert (result.voc.ap50, result.yolo.ap, result.yolo.recall, result.coco.ap) == (0.0, 0.0, 0.0, 0.0)


def test_the_order_of_images_and_rows_changes_nothing() -> None:
    truth = random_truth(3)
    detections = detections_near(truth, 4)
    shuffled = np.random.default_rng(5).permutation(len(detections))
    other = Scored(
        image=detections.image[shuffled],
        class_id=detections.class_id[shuffled],
        confidence=detections.confidence[shuffled],
        xyxy=detections.xyxy[shuffled],
    )
    assert evaluate(truth, other) == evaluate(truth, detections)


def test_looking_at_pairs_in_portions_changes_nothing() -> None:
    truth = random_truth(6)
    detections = detections_near(truth, 7)
    boxes = detections.xyxy.astype(np.float64)
    whole = rank(objects_without_crowds(truth), detections, boxes, border_px=0)
    portions = rank(objects_without_crowds(truth), detections, boxes, border_px=0, pairs_at_once=7)
    assert np.array_equal(whole.overlap, portions.overlap)
    assert np.array_equal(whole.target, portions.target)


def test_classes_without_names_go_by_their_number_and_namesakes_are_told_apart() -> None:
    objects: list[tuple[int, int, Box]] = [(0, 0, FAR), (0, 1, FAR)]
    nameless = evaluate(truth_of(objects, class_names=None), Scored.empty())
    assert list(nameless.voc.per_class) == ["0", "1"]
    namesakes = evaluate(truth_of(objects, class_names=("car", "car", "bike")), Scored.empty())
    assert list(namesakes.coco.per_class) == ["car (0)", "car (1)"]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ((1, 0, 0.5, FAR), "a detection's image must lie in 0 to 0, got 1 to 1"),
        ((-1, 0, 0.5, FAR), "a detection's image must lie in 0 to 0, got -1 to -1"),
        ((0, 3, 0.5, FAR), "a detection's class must be one of the 3 classes, got 3 to 3"),
        ((0, -1, 0.5, FAR), "a detection's class must be one of the 3 classes, got -1 to -1"),
    ],
)
def test_refuses_detections_of_nothing_known(row: tuple[int, int, float, Box], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        evaluate(truth_of([(0, 0, FAR)]), scored_of([row]))


def test_without_class_names_the_rule_for_a_class_is_that_it_is_not_negative() -> None:
    truth = truth_of([(0, 0, FAR)], class_names=None)
    with pytest.raises(ValueError, match="a detection's class must not be negative, got -2"):
        evaluate(truth, scored_of([(0, -2, 0.5, FAR), (0, 70, 0.5, FAR)]))


def test_detections_score_the_same_from_the_competitions_files(tmp_path: Path) -> None:
    """Tiny confidences, many ties, edges on and beside whole pixels: whatever a file could round away."""
    truth = random_truth(8)
    dice = random.Random(9)
    near = detections_near(truth, 9)
    confidence = np.array(
        [dice.choice([0.001, 0.0010001, 0.00100012, 0.5]) for _ in range(len(near))], np.float32
    )
    detections = replace(
        near, confidence=confidence, xyxy=np.where(near.xyxy > 300, np.round(near.xyxy), near.xyxy)
    )
    texts = {}
    for image, image_id in enumerate(truth.image_ids):
        rows = np.flatnonzero(detections.image == image)
        texts[image_id.replace(".jpg", ".txt")] = format_labels(
            "competition",
            detections.xyxy[rows],
            detections.confidence[rows],
            detections.class_id[rows],
            (480, 640),
            truth.class_names or (),
            12.5,
        )
    folder = write_files(tmp_path, texts)
    images = dict.fromkeys(truth.image_ids, (480, 640))
    read = read_detections(folder, "competition", images=images, class_names=truth.class_names)
    assert np.array_equal(read.detections.confidence, detections.confidence)
    names = truth.class_names or ()
    assert voc_ap(truth, read.detections, names) == voc_ap(truth, detections, names)


@pytest.mark.photographs
def test_gives_what_the_competitions_own_tool_printed(photographs: Path) -> None:
    folder = photographs / "competition"
    images = dict.fromkeys(sorted(path.stem for path in (folder / "ground-truth").iterdir()))
    truth = read_ground_truth(folder / "ground-truth", images=images)
    read = read_detections(
        folder / "detection-results", "competition", images=images, class_names=truth.class_names
    )
    result = voc_ap(replace(truth, class_names=read.class_names), read.detections, read.class_names or ())
    reference = json.loads((folder / "reference.json").read_text())
    assert len(reference["ap_percent"]) == 63
    assert result.ap50 == pytest.approx(reference["map"], abs=0.5e-5)
    assert {name: entry.ap50 * 100 for name, entry in result.per_class.items()} == pytest.approx(
        reference["ap_percent"], abs=0.005 + 1e-9, rel=0
    )
