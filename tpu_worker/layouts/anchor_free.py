"""One output (N, 4 + classes, cells) or (N, cells, 4 + classes): cx cy w h in input pixels, class probabilities.

YOLOv8, v9, 11 and 12, and YOLOv5u. There is no objectness: one comparison reads the output once, and everything else
touches only the values above the limit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bmodel.layouts import PLAIN_BOX_COLUMNS
from bmodel.sidecar import ModelSpec
from tpu_worker.layouts.candidates import LOOSE, Candidates, Choice, Rows, check_finite

Indices = NDArray[np.intp]

# Eight booleans side by side, all true.
_ALL_BELOW: Final = np.uint64(0x0101010101010101)
_EIGHT: Final = np.arange(8)


class AnchorFree:
    """Finds the class probabilities that pass, wherever the classes lie, in the order cell, class."""

    is_suppressed = False

    def __init__(self, spec: ModelSpec, choice: Choice) -> None:
        self._choice = choice
        self._has_classes_first = spec.has_classes_first
        self._limit = np.float32(choice.conf * (1.0 - LOOSE))

    def decode(self, outputs: list[Rows], position: int) -> Candidates:
        """Return the candidates of the image at `position`."""
        values = outputs[0][position]
        cell, column = self._passing_of_columns(values) if self._has_classes_first else self._passing(values)
        # Either way a view of shape (cells, 4 + classes).
        rows = values.T if self._has_classes_first else values
        found = rows[cell, column]
        if self._choice.single_label:
            best = _best_of_cells(cell, found)
            cell, column, found = cell[best], column[best], found[best]
        boxes = rows[cell, :PLAIN_BOX_COLUMNS].astype(np.float64)
        check_finite(found)
        check_finite(boxes)
        return self._choice.candidates(
            boxes[:, :2],
            boxes[:, 2:] / 2.0,
            np.arange(len(cell)),
            column - PLAIN_BOX_COLUMNS,
            found.astype(np.float64),
        )

    def _passing_of_columns(self, values: Rows) -> tuple[Indices, Indices]:
        """Cell and column of the probabilities of (4 + classes, cells) that pass."""
        columns, cells = values.shape
        column, cell = np.divmod(self._above(values[PLAIN_BOX_COLUMNS:]), cells)
        order = cell * columns + column
        order.sort()
        cell, column = np.divmod(order, columns)
        return cell, column + PLAIN_BOX_COLUMNS

    def _passing(self, values: Rows) -> tuple[Indices, Indices]:
        """Cell and column of the probabilities of (cells, 4 + classes) that pass."""
        # Comparing the boxes too, and dropping them, is faster than leaving them out in each row.
        cell, column = np.divmod(self._above(values, dropped=PLAIN_BOX_COLUMNS), values.shape[1])
        return cell, column

    def _above(self, values: Rows, *, dropped: int = 0) -> Indices:
        """Flat positions of the values above the limit, and of NaN, without the first `dropped` columns."""
        below = values <= self._limit  # NaN is not below, so that it is looked at
        below[:, :dropped] = True
        flat = below.ravel()
        # Eight at a time: nearly all are below, and those few words that are not are taken apart.
        whole = len(flat) - len(flat) % 8
        (words,) = (flat[:whole].view(np.uint64) != _ALL_BELOW).nonzero()
        near = np.concatenate(((words[:, None] * 8 + _EIGHT).ravel(), np.arange(whole, len(flat))))
        places: Indices = near[~flat[near]]
        return places


def _best_of_cells(cell: Indices, found: Rows) -> Indices:
    """Positions of the best value of each cell, the first of equal ones; `cell` ascends."""
    order = np.lexsort((-found, cell))
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = cell[order[1:]] != cell[order[:-1]]
    best: Indices = order[is_first]
    return best
