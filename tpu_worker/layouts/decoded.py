"""One output (N, boxes, 5 + classes): cx cy w h in input pixels, objectness and classes as probabilities.

YOLOv5, YOLOv7 exported with their grid, and YOLOv6.
"""

from __future__ import annotations

import numpy as np

from bmodel.sidecar import ModelSpec
from tpu_worker.layouts.candidates import LOOSE, Candidates, Choice, Rows, check_finite


class Decoded:
    """Takes boxes as the network decoded them."""

    is_suppressed = False

    def __init__(self, spec: ModelSpec, choice: Choice) -> None:  # noqa: ARG002 - every layout takes the spec
        self._choice = choice

    def decode(self, outputs: list[Rows], position: int) -> Candidates:
        """Return the candidates of the image at `position`."""
        rows = outputs[0][position]
        check_finite(rows[:, 4])
        rows = rows[rows[:, 4] > self._choice.conf]
        check_finite(rows)
        probability = rows[:, 4].astype(np.float64)
        limit = self._choice.conf / probability * (1.0 - LOOSE)
        row, class_id = self._choice.label(rows[:, 5:], limit)
        scores = probability[row] * rows[row, class_id + 5]
        boxes = rows[:, :4].astype(np.float64)
        return self._choice.candidates(boxes[:, :2], boxes[:, 2:] / 2.0, row, class_id, scores)
