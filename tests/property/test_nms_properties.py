"""Suppression equals the plain float64 one, whatever the boxes."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from tests.helpers.examples import times
from tests.helpers.reference_detection import overlap, suppressed
from tpu_worker.nms import _overlapping_pairs, suppress

# Whole numbers make equal boxes, touching edges and IoUs exactly at the limit common; floats the rest.
whole = st.integers(-3, 12).map(float)
anywhere = st.floats(-50, 900, width=32)
corners = st.one_of(st.tuples(whole, whole, whole, whole), st.tuples(anywhere, anywhere, anywhere, anywhere))
limits = st.sampled_from([0.0, 0.25, 1 / 3, 0.45, 0.5, 0.65, 0.75, 0.9, 1.0])
labelled = st.lists(st.tuples(corners, st.integers(0, 3)), max_size=60)


def arrays(
    boxes: list[tuple[tuple[float, float, float, float], int]],
) -> tuple[
    np.ndarray[tuple[int, ...], np.dtype[np.float32]], np.ndarray[tuple[int, ...], np.dtype[np.int32]]
]:
    drawn = np.array([box for box, _ in boxes], np.float32).reshape(-1, 2, 2)
    xyxy = np.concatenate((drawn.min(axis=1), drawn.max(axis=1)), axis=1)
    return xyxy, np.array([class_id for _, class_id in boxes], np.int32)


@given(labelled, limits, st.integers(1, 70))
@times(4)
@example([((0, 0, 4, 4), 0), ((0, 0, 4, 2), 0), ((0, 0, 4, 3), 0)], 0.5, 70)
# Left edges that the sort key, shifted apart by class, cannot tell apart any more.
@example([((0, 0, 2, 0), 0), ((0, 0, 0, 1), 1), ((-(2.0**-52), 0, 0, 2), 1)], 0.0, 3)
def test_equals_the_plain_reference(
    boxes: list[tuple[tuple[float, float, float, float], int]], iou: float, max_detections: int
) -> None:
    xyxy, class_id = arrays(boxes)
    kept = suppress(xyxy, class_id, iou=iou, max_detections=max_detections)
    assert kept.tolist() == suppressed(xyxy, class_id, iou=iou, max_detections=max_detections)


@given(labelled.filter(bool), limits)
@times(4)
def test_every_overlapping_pair_is_found(
    boxes: list[tuple[tuple[float, float, float, float], int]], iou: float
) -> None:
    xyxy, class_id = arrays(boxes)
    wide = xyxy.astype(np.float64)
    found = {tuple(pair) for pair in np.transpose(_overlapping_pairs(wide, class_id, iou)).tolist()}
    assert found == {
        (better, worse)
        for better, worse in itertools.combinations(range(len(wide)), 2)
        if class_id[better] == class_id[worse] and overlap(wide[better], wide[worse]) > iou
    }


@given(labelled, limits)
def test_no_two_kept_boxes_of_a_class_overlap(
    boxes: list[tuple[tuple[float, float, float, float], int]], iou: float
) -> None:
    xyxy, class_id = arrays(boxes)
    kept = suppress(xyxy, class_id, iou=iou, max_detections=1000)
    wide = xyxy.astype(np.float64)
    for place, one in enumerate(kept):
        for other in kept[place + 1 :]:
            assert class_id[one] != class_id[other] or overlap(wide[one], wide[other]) <= iou
