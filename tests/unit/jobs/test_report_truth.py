"""Detections held against truth: the same figures as mAP's, and every object and detection judged one by one."""

from __future__ import annotations

import numpy as np
import pytest

from data.columns import GroundTruth, Scored
from jobs.measure.yolo import yolo_ap
from jobs.report.gallery import judged_gallery, plain_gallery
from jobs.report.judge import judge
from tests.helpers.label_sets import detections_near, random_truth, scored_of, truth_of

FULL = (0.0, 0.0, 100.0, 100.0)
FAR = (300.0, 300.0, 340.0, 340.0)
NAMES = ("car", "person", "bike")


@pytest.mark.parametrize("seed", range(5))
def test_curves_carry_the_figures_of_metrics_json(seed: int) -> None:
    truth = random_truth(seed, crowds=0.1)
    detections = detections_near(truth, seed)
    curves = judge(truth, detections).curves
    expected = yolo_ap(truth, detections, list(truth.class_names or ()))
    assert curves is not None
    point = curves.best_point
    assert float(curves.precision[:, point].mean()) == pytest.approx(expected.precision, abs=1e-12)
    assert float(curves.recall[:, point].mean()) == pytest.approx(expected.recall, abs=1e-12)
    heights = curves.precision_at_recall
    areas = ((heights[:, 1:] + heights[:, :-1]) / 2).mean(axis=1)
    assert areas.tolist() == pytest.approx([entry.ap50 for entry in expected.per_class.values()])


@pytest.mark.parametrize("seed", range(5))
def test_an_image_at_a_time_gives_the_same_counts(seed: int) -> None:
    truth = random_truth(seed)
    detections = detections_near(truth, seed)
    judged = judge(truth, detections)
    missed, false = judged.missed_by_image(), judged.false_by_image()
    for image in range(len(truth.image_ids)):
        assert (missed[image], false[image]) == counted_slowly(truth, detections, image, judged.confidence)


def counted_slowly(truth: GroundTruth, detections: Scored, image: int, confidence: float) -> tuple[int, int]:
    """Missed objects and false detections of one image, one detection at a time, the surest first."""
    objects = np.flatnonzero(truth.box_image == image)
    rows = np.flatnonzero((detections.image == image) & (detections.confidence >= confidence))
    free = set(objects.tolist())
    false = 0
    for row in rows[np.argsort(-detections.confidence[rows], kind="stable")].tolist():
        same = [one for one in objects.tolist() if truth.class_id[one] == detections.class_id[row]]
        overlaps = [iou(truth.xyxy[one], detections.xyxy[row].astype(np.float64)) for one in same]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best >= 0 and overlaps[best] >= 0.5 and same[best] in free:
            free.remove(same[best])
        else:
            false += 1
    return len(free), false


def iou(
    one: np.ndarray[tuple[int], np.dtype[np.float64]], other: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> float:
    sides = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None)
    shared = float(sides.prod())
    return shared / (float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - shared)


def test_a_detection_on_a_crowd_of_its_class_is_excused_and_any_other_is_false() -> None:
    truth = truth_of([(0, 0, FULL), (0, 1, FAR), (1, 0, FAR)], images=2, crowd=[True, False, False])
    inside, half_out = (10.0, 10.0, 30.0, 30.0), (60.0, 0.0, 160.0, 100.0)
    detections = scored_of(
        [(0, 0, 0.9, inside), (0, 1, 0.9, inside), (0, 0, 0.9, half_out), (0, 1, 0.9, FAR), (1, 0, 0.9, FAR)]
    )
    judged = judge(truth, detections)
    assert judged.excused.tolist() == [True, False, False, False, False]
    assert judged.correct.tolist() == [False, False, False, True, True]
    assert judged.false_by_image().tolist() == [2, 0]
    assert judged.missed_by_image().tolist() == [0, 0]


def test_only_what_the_best_confidence_lets_through_counts() -> None:
    objects = [(0, 0, (10.0 * number, 0.0, 10.0 * number + 8, 8.0)) for number in range(10)]
    right = [(0, 0, 0.8, box) for _, _, box in objects]
    wrong = [(0, 0, 0.1, (500.0 + 20 * number, 0.0, 510.0 + 20 * number, 8.0)) for number in range(30)]
    judged = judge(truth_of(objects), scored_of(right + wrong))
    assert 0.1 < judged.confidence <= 0.8
    assert len(judged.shown) == 10
    assert judged.correct.all()
    assert judged.object_found.all()


def test_truth_without_objects_has_no_curves_and_every_detection_is_false() -> None:
    judged = judge(truth_of([], images=2), scored_of([(1, 0, 0.5, FULL)]))
    assert judged.curves is None
    assert judged.false_by_image().tolist() == [0, 1]


def test_the_gallery_is_ordered_by_errors_and_draws_each_box_as_what_it_is() -> None:
    truth = truth_of(
        [(0, 0, FULL), (1, 0, FULL), (1, 1, FAR), (2, 2, FULL), (3, 0, FULL)],
        images=5,
    )
    detections = scored_of(
        [
            (0, 0, 0.9, FULL),
            (1, 0, 0.9, FULL),
            (1, 2, 0.9, FULL),
            (2, 2, 0.9, FULL),
            (2, 0, 0.9, FAR),
            (3, 0, 0.9, FULL),
        ]
    )
    gallery = judged_gallery(judge(truth, detections), NAMES)
    worst, second, *_ = gallery.worst(5)
    assert [worst.image_id, second.image_id] == ["1.jpg", "2.jpg"]
    assert worst.caption == "1 missed, 1 false, 1 found"
    assert worst.truth is not None
    assert {(box.kind, box.title) for box in worst.truth} == {("found", "car"), ("missed", "person")}
    assert {(box.kind, box.title) for box in worst.detections} == {
        ("found", "car 0.90"),
        ("false", "bike 0.90"),
    }
    [missed] = [box for box in worst.truth if box.kind == "missed"]
    assert missed.xyxy == (300, 300, 340, 340)
    assert missed.rank == 0  # an error's label comes first, however small its box


def test_typical_images_lie_in_the_middle_of_the_order() -> None:
    # Image n misses n objects, so the middle three of seven miss 4, 3 and 2.
    objects = [
        (image, 0, (20.0 * number, 0.0, 20.0 * number + 10, 10.0))
        for image in range(7)
        for number in range(image + 1)
    ]
    found = [(image, 0, 0.9, (0.0, 0.0, 10.0, 10.0)) for image in range(7)]
    gallery = judged_gallery(judge(truth_of(objects, images=7), scored_of(found)), NAMES)
    assert [scene.image_id for scene in gallery.worst(2)] == ["6.jpg", "5.jpg"]
    assert [scene.image_id for scene in gallery.typical(3)] == ["4.jpg", "3.jpg", "2.jpg"]
    assert [scene.image_id for scene in gallery.typical(50)] == [f"{image}.jpg" for image in range(6, -1, -1)]


def test_without_truth_images_are_spread_over_the_run_and_only_sure_boxes_are_drawn() -> None:
    ids = [f"{number}.jpg" for number in range(101)]
    gallery = plain_gallery(ids, scored_of([(50, 1, 0.9, FULL), (50, 0, 0.2, FAR)]), NAMES)
    scenes = gallery.spread(5)
    assert [scene.image_id for scene in scenes] == ["0.jpg", "25.jpg", "50.jpg", "75.jpg", "100.jpg"]
    assert [(box.kind, box.title) for box in scenes[2].detections] == [("plain", "person 0.90")]
    assert scenes[2].truth is None
    assert plain_gallery([], scored_of([]), NAMES).spread(5) == []
