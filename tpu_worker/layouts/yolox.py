"""One output (N, cells, 5 + classes) whose boxes are left to the host, and whose probabilities are not: YOLOX.

A box is xy = (t + cell) · stride, wh = exp(t) · stride; the cells are those of each stride, row by row.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bmodel.layouts import grid_strides
from bmodel.sidecar import ModelSpec
from tpu_worker.layouts.candidates import Choice
from tpu_worker.layouts.decoded import Boxes, Decoded

# exp of more would leave float32's range; such a box covers the input many times over in any case.
_MOST: Final = 80.0


class Yolox(Decoded):
    """Adds the cell and the stride to what a network of one box per cell tells."""

    def __init__(self, spec: ModelSpec, choice: Choice) -> None:
        super().__init__(spec, choice)
        strides = grid_strides(spec.input_hw, spec.outputs[0].shape[1]) or ()
        self._cells = np.concatenate([_cells(spec.input_hw, stride) for stride in strides])

    def _boxes(self, values: Boxes, places: NDArray[np.intp]) -> tuple[Boxes, Boxes]:
        cells = self._cells[places]
        stride = cells[:, 2:]
        return (values[:, :2] + cells[:, :2]) * stride, np.exp(
            np.minimum(values[:, 2:], _MOST)
        ) * stride / 2.0


def _cells(input_hw: tuple[int, int], stride: int) -> Boxes:
    """Column, row and stride of each cell, (cells, 3)."""
    line, column = np.indices((input_hw[0] // stride, input_hw[1] // stride)).reshape(2, -1)
    return np.column_stack((column, line, np.full(len(line), stride))).astype(np.float64)
