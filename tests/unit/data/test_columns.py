"""Truth and detections as columns check their shapes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from data.ground_truth import GroundTruth, Scored
from tests.helpers.label_sets import scored_of, truth_of

EMPTY_ROWS = np.zeros((0, 4))


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: truth_of([(1, 0, (0, 0, 1, 1))], images=1), "box_image must lie in 0 to 0, got 1 to 1"),
        (lambda: truth_of([(0, 3, (0, 0, 1, 1))]), "class_id must lie in 0 to 2, got 3 to 3"),
        (lambda: truth_of([(0, -1, (0, 0, 1, 1))], class_names=None), "class_id must lie in 0, got -1 to -1"),
        (lambda: truth_of([], crowd=[True]), r"crowd must have shape \(0,\), got \(1,\)"),
        (lambda: scored_of([(0, 0, 0.5, (0, 0, float("nan"), 1))]), "xyxy and confidence must be finite"),
        (lambda: scored_of([(0, 0, float("inf"), (0, 0, 1, 1))]), "xyxy and confidence must be finite"),
        (
            lambda: Scored(
                image=np.zeros(0, np.int32),
                class_id=np.zeros(0, np.int32),
                confidence=np.zeros(0, np.float32),
                xyxy=EMPTY_ROWS,  # type: ignore[arg-type]
            ),
            "xyxy must be float32",
        ),
        (
            lambda: Scored(
                image=np.zeros(1, np.int32),
                class_id=np.zeros(2, np.int32),
                confidence=np.zeros(1, np.float32),
                xyxy=np.zeros((1, 4), np.float32),
            ),
            r"class_id must be int32 \(1,\), got int32 \(2,\)",
        ),
    ],
)
def test_columns_check_their_shapes(make: Callable[[], GroundTruth | Scored], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make()
