"""Raw heads (N, anchors · (5 + classes), H, W), one per stride: YOLOv5 and YOLOv7 without their last permute.

The chip saves the permute, and a plane of objectness lies together, so that the host reads it faster.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bmodel.layouts import BOX_COLUMNS
from bmodel.sidecar import ModelSpec
from tpu_worker.layouts.anchor_boxes import AnchorBoxes
from tpu_worker.layouts.candidates import Candidates, Choice, Rows


class Planes:
    """Decodes raw heads whose values of one kind lie together."""

    is_suppressed = False

    def __init__(self, spec: ModelSpec, choice: Choice) -> None:
        self._heads = [(head.output, len(head.anchors_wh)) for head in spec.heads]
        self._columns = BOX_COLUMNS + len(spec.class_names)
        self._boxes = AnchorBoxes(spec, choice)

    def decode(self, outputs: list[Rows], position: int) -> Candidates:
        """Return the candidates of the image at `position`."""
        heads = [
            outputs[output][position].reshape(anchors, self._columns, -1) for output, anchors in self._heads
        ]
        places = self._boxes.passing(np.concatenate([planes[:, 4].ravel() for planes in heads]))
        return self._boxes.candidates(_take(heads, places), places)


def _take(heads: list[Rows], places: NDArray[np.intp]) -> Rows:
    """Rows (N, columns) at ascending positions in the heads' anchors and cells laid end to end."""
    taken = np.empty((len(places), heads[0].shape[1]), np.float32)
    start = offset = 0
    for planes in heads:
        anchors, _, cells = planes.shape
        end = int(places.searchsorted(offset + anchors * cells))
        anchor, cell = np.divmod(places[start:end] - offset, cells)
        taken[start:end] = planes[anchor, :, cell]
        start, offset = end, offset + anchors * cells
    return taken
