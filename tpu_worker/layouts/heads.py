"""Raw heads (N, anchors, H, W, 5 + classes), one per stride: YOLOv5 and YOLOv7.

Comparing raw objectness with logit(conf) first leaves sigmoid and box arithmetic to the few survivors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec
from tpu_worker.layouts.anchor_boxes import AnchorBoxes
from tpu_worker.layouts.candidates import Candidates, Choice, Rows


class Heads:
    """Decodes raw heads whose values of one anchor lie together."""

    is_suppressed = False

    def __init__(self, spec: ModelSpec, choice: Choice) -> None:
        self._outputs = [head.output for head in spec.heads]
        self._boxes = AnchorBoxes(spec, choice)

    def decode(self, outputs: list[Rows], position: int) -> Candidates:
        """Return the candidates of the image at `position`."""
        values = outputs[0].shape[-1]
        heads = [outputs[output][position].reshape(-1, values) for output in self._outputs]
        places = self._boxes.passing(np.concatenate([rows[:, 4] for rows in heads]))
        return self._boxes.candidates(_take(heads, places), places)


def _take(heads: list[Rows], places: NDArray[np.intp]) -> Rows:
    """Rows at ascending positions in the heads laid end to end, without joining the heads."""
    taken = np.empty((len(places), heads[0].shape[1]), np.float32)
    start = offset = 0
    for rows in heads:
        end = int(places.searchsorted(offset + len(rows)))
        if end > start:
            # Positions are in range; the mode spares numpy a buffered copy.
            rows.take(places[start:end] - offset, axis=0, out=taken[start:end], mode="clip")
        start, offset = end, offset + len(rows)
    return taken
