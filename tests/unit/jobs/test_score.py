"""The competition's score."""

from __future__ import annotations

import pytest

from jobs.measure.mean_ap import evaluate
from jobs.measure.score import competition_score, score_of
from tests.helpers.label_sets import scored_of, truth_of

# model, image size, mAP@0.5, i_time in ms, score: as published for BM1684.
PUBLISHED = [
    ("yolov7", 640, 0.774, 102, 167.2),
    ("yolov7", 768, 0.788, 146, 164.2),
    ("yolov7x", 640, 0.773, 159.4, 161.36),
    ("yolov7-e6e", 1280, 0.817, 633, 118.4),
]


@pytest.mark.parametrize(("model", "size", "mean_ap50", "i_time_ms", "score"), PUBLISHED)
def test_gives_the_published_scores(
    model: str, size: int, mean_ap50: float, i_time_ms: float, score: float
) -> None:
    assert competition_score(mean_ap50, i_time_ms) == pytest.approx(score, abs=0.05)


def test_nothing_caps_the_time() -> None:
    assert competition_score(1.0, 0.0) == 200
    assert competition_score(0.5, 2000.0) == pytest.approx(-50)


@pytest.mark.parametrize("mean_ap50", [-0.01, 1.01, 77.4, float("nan")])
def test_refuses_what_is_no_fraction(mean_ap50: float) -> None:
    with pytest.raises(ValueError, match="mAP must be a fraction from 0 to 1"):
        competition_score(mean_ap50, 100)


@pytest.mark.parametrize("i_time_ms", [-1.0, float("inf"), float("nan")])
def test_refuses_what_is_no_time(i_time_ms: float) -> None:
    with pytest.raises(ValueError, match="i_time_ms must be a finite time"):
        competition_score(0.5, i_time_ms)


def test_the_protocol_decides_whose_map_counts() -> None:
    # One of two objects found: half the area (VOC), 51 of 101 recall points (COCO), a ramp down to recall 1 (YOLO).
    truth = truth_of([(0, 0, (0, 0, 10, 10)), (0, 0, (50, 50, 60, 60))])
    mean_ap = evaluate(truth, scored_of([(0, 0, 0.9, (0, 0, 10, 10))]))
    assert score_of(mean_ap, 100, "voc") == pytest.approx(50 + 90)
    assert score_of(mean_ap, 100, "coco") == pytest.approx(100 * 51 / 101 + 90)
    assert score_of(mean_ap, 100, "yolo") == pytest.approx(75 + 90)


def test_is_unknown_where_a_part_is_unknown() -> None:
    some = evaluate(truth_of([(0, 0, (0, 0, 10, 10))]), scored_of([]))
    nothing = evaluate(truth_of([]), scored_of([]))
    assert score_of(None, 100, "voc") is None
    assert score_of(some, None, "voc") is None
    assert score_of(nothing, 100, "coco") is None
    assert score_of(some, 100, "yolo") == pytest.approx(90)
