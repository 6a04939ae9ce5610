"""Suppression within classes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tests.helpers.reference_detection import suppressed
from tpu_worker.nms import best_first, suppress


def keep(
    boxes: list[tuple[float, float, float, float]],
    classes: list[int] | None = None,
    *,
    iou: float = 0.5,
    max_detections: int = 300,
) -> list[int]:
    """Kept positions of boxes given best first."""
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    class_id = np.array(classes or [0] * len(boxes), np.int32)
    return [int(place) for place in suppress(xyxy, class_id, iou=iou, max_detections=max_detections)]


A = (0.0, 0.0, 10.0, 10.0)


@pytest.mark.parametrize(
    ("boxes", "classes", "kept"),
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([A], [0], [0], id="one"),
        pytest.param([A, A], [0, 0], [0], id="equal boxes"),
        pytest.param([A, A], [0, 1], [0, 1], id="equal boxes of two classes"),
        pytest.param([A, (20, 0, 30, 10)], [0, 0], [0, 1], id="apart"),
        pytest.param([A, (10, 0, 20, 10)], [0, 0], [0, 1], id="touching"),
        pytest.param([A, (0, 0, 10, 5)], [0, 0], [0, 1], id="IoU exactly the limit"),
        pytest.param([A, (0, 0, 10, 5.001)], [0, 0], [0], id="IoU just above the limit"),
        pytest.param([A, (0, 4, 10, 14), (0, 8, 10, 18)], [0, 0, 0], [0, 1, 2], id="IoU below the limit"),
        pytest.param(
            [A, (0, 3, 10, 13), (0, 6, 10, 16)], [0, 0, 0], [0, 2], id="the suppressed suppress none"
        ),
        pytest.param([(5, 5, 5, 5), (5, 5, 5, 5)], [0, 0], [0, 1], id="without area"),
        pytest.param([A, (5, 5, 5, 5), (0, 0, 10, 0)], [0, 0, 0], [0, 1, 2], id="points and lines inside"),
        pytest.param([(-10, -10, 0, 0), (-10, -10, 0, -0.1)], [0, 0], [0], id="negative coordinates"),
        pytest.param([(0, 0, 1e5, 1e5), A], [79, 79], [0, 1], id="inside a giant"),
    ],
)
def test_keeps_the_best_of_each_heap(
    boxes: list[tuple[float, float, float, float]], classes: list[int], kept: list[int]
) -> None:
    assert keep(boxes, classes) == kept


def test_limits_of_iou() -> None:
    boxes = [A, (9.99, 9.99, 20, 20), A]
    assert keep(boxes, iou=0.0) == [0]
    assert keep(boxes, iou=1.0) == [0, 1, 2]


def test_stops_at_the_maximum() -> None:
    apart = [(20.0 * n, 0.0, 20.0 * n + 10, 10.0) for n in range(50)]
    assert keep(apart, max_detections=7) == list(range(7))


def test_groups_do_not_show() -> None:
    dice = np.random.default_rng(1)
    corner, size = dice.uniform(0, 300, (1200, 2)), dice.uniform(10, 60, (1200, 2))
    xyxy = np.concatenate((corner, corner + size), axis=1).astype(np.float32)
    class_id = dice.integers(0, 5, 1200).astype(np.int32)
    expected = suppressed(xyxy, class_id, iou=0.4, max_detections=1200)
    assert 512 < len(expected) < 1200
    for max_detections in (1, 10, 300, 1200):
        kept = suppress(xyxy, class_id, iou=0.4, max_detections=max_detections)
        assert kept.tolist() == expected[:max_detections]


def test_a_heap_of_equal_boxes_needs_little_memory() -> None:
    """Every pair overlaps: 6,000 candidates would make 18 million of them, 130 bytes each."""
    xyxy = np.tile(np.array(A, np.float32), (6000, 1))
    tracemalloc.start()
    kept = suppress(xyxy, np.zeros(6000, np.int32), iou=0.65, max_detections=300)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kept.tolist() == [0]
    assert peak_bytes < 100e6


def test_best_first_orders_by_confidence_then_index() -> None:
    confidence = np.array([0.5, 0.9, 0.5, 1.0, 0.001, 0.9, 0.0], np.float32)
    assert best_first(confidence, 100).tolist() == [3, 1, 5, 0, 2, 4, 6]
    assert best_first(confidence, 3).tolist() == [3, 1, 5]
    assert best_first(np.zeros(0, np.float32), 3).tolist() == []


def test_best_first_equals_a_stable_sort() -> None:
    dice = np.random.default_rng(0)
    confidence = (dice.integers(0, 200, 5000) / 200).astype(np.float32)
    expected = np.argsort(-confidence, kind="stable")
    np.testing.assert_array_equal(best_first(confidence, 5000), expected)
