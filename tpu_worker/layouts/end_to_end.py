"""One output (N, rows, 6) of final boxes: x1 y1 x2 y2 in input pixels, score, class. Empty rows have a score of 0.

YOLOv10 and 26, and exports of others with their suppression inside.
"""

from __future__ import annotations

import numpy as np

from bmodel.errors import OutputError
from bmodel.sidecar import ModelSpec
from tpu_worker.layouts.candidates import Candidates, Choice, Rows, as_confidence, check_finite


class EndToEnd:
    """Takes boxes as they are: the network has suppressed what overlaps."""

    is_suppressed = True

    def __init__(self, spec: ModelSpec, choice: Choice) -> None:
        self._conf = choice.conf
        self._classes = len(spec.class_names)

    def decode(self, outputs: list[Rows], position: int) -> Candidates:
        """Return the candidates of the image at `position`."""
        rows = outputs[0][position]
        check_finite(rows[:, 4])
        rows = rows[rows[:, 4].astype(np.float64) > self._conf]
        check_finite(rows)
        class_id = rows[:, 5].astype(np.int64)
        wrong = (class_id != rows[:, 5]) | (class_id < 0) | (class_id >= self._classes)
        if wrong.any():
            raise OutputError(
                f"layout: an end-to-end output's class must be a whole number below {self._classes}, "
                f"got {float(rows[wrong, 5][0]):g}"
            )
        return Candidates(
            xyxy=rows[:, :4], confidence=as_confidence(rows[:, 4]), class_id=class_id.astype(np.int32)
        )
