"""The boxes of YOLOv5 and YOLOv7 anchors, however their raw values lie in memory.

A raw box is xy = (2σ - 0.5 + cell) · stride, wh = (2σ)² · anchor; its scores are σ(objectness) · σ(class).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import HeadSpec, ModelSpec
from tpu_worker.layouts.candidates import LOOSE, Candidates, Choice, Rows, check_finite, logit, sigmoid


class AnchorBoxes:
    """Every anchor of a network's heads laid end to end, in the order head, anchor, row, column."""

    def __init__(self, spec: ModelSpec, choice: Choice) -> None:
        self._choice = choice
        self._limit = float(logit(choice.conf)) - LOOSE
        self._anchors = np.concatenate([_anchor_table(head, spec.input_hw) for head in spec.heads])

    def passing(self, objectness: Rows) -> NDArray[np.intp]:
        """Ascending positions of the anchors whose raw objectness (A,) lets any class pass."""
        # NaN and -∞ show in the least value, and ∞ is above the limit, so that its row is looked at.
        check_finite(objectness.min())
        (places,) = (objectness > self._limit).nonzero()
        return places

    def candidates(self, rows: Rows, places: NDArray[np.intp]) -> Candidates:
        """Candidates of the raw rows (N, 5 + classes) of the anchors at `places`."""
        check_finite(rows)
        box = sigmoid(rows[:, :5])
        probability = box[:, 4]
        limit = logit(self._choice.conf / probability) - LOOSE
        row, class_id = self._choice.label(rows[:, 5:], limit)
        scores = probability[row] * sigmoid(rows[row, class_id + 5])
        table = self._anchors[places]
        centre = (2.0 * box[:, :2] + table[:, :2]) * table[:, 4:]
        return self._choice.candidates(centre, box[:, 2:4] ** 2 * table[:, 2:4], row, class_id, scores)


def _anchor_table(head: HeadSpec, input_hw: tuple[int, int]) -> NDArray[np.float64]:
    """What turns σ into the boxes of a head, (anchors, 5): column and row less 0.5, twice width and height, and stride.

    Half of a box's size is σ² · 2 · anchor.
    """
    rows, columns = (side // head.stride for side in input_hw)
    anchor, line, column = np.indices((len(head.anchors_wh), rows, columns)).reshape(3, -1)
    twice_wh = np.array(head.anchors_wh)[anchor] * 2.0
    return np.column_stack((column - 0.5, line - 0.5, twice_wh, np.full(len(anchor), head.stride)))
