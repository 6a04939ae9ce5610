"""One output (N, boxes, 5 + classes): cx cy w h in input pixels, objectness and classes as probabilities.

YOLOv5 and YOLOv7 exported with their grid, and YOLOv6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec
from tpu_worker.layouts.candidates import LOOSE, Candidates, Choice, Rows, check_finite

Boxes = NDArray[np.float64]


class Decoded:
    """Takes boxes as the network decoded them; objectness decides first which rows are looked at."""

    is_suppressed = False

    def __init__(self, spec: ModelSpec, choice: Choice) -> None:  # noqa: ARG002 - every layout takes the spec
        self._choice = choice

    def decode(self, outputs: list[Rows], position: int) -> Candidates:
        """Return the candidates of the image at `position`."""
        rows = outputs[0][position]
        check_finite(rows[:, 4])
        (places,) = (rows[:, 4] > self._choice.conf).nonzero()
        rows = rows[places]
        check_finite(rows)
        probability = rows[:, 4].astype(np.float64)
        limit = self._choice.conf / probability * (1.0 - LOOSE)
        row, class_id = self._choice.label(rows[:, 5:], limit)
        scores = probability[row] * rows[row, class_id + 5]
        centre, half = self._boxes(rows[:, :4].astype(np.float64), places)
        return self._choice.candidates(centre, half, row, class_id, scores)

    def _boxes(self, values: Boxes, places: NDArray[np.intp]) -> tuple[Boxes, Boxes]:  # noqa: ARG002 - see Yolox
        """Centres and half sizes (N, 2) in input pixels of the first four columns of the rows at `places`."""
        return values[:, :2], values[:, 2:] / 2.0
