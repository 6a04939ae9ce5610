"""Which cells and anchors are responsible for which box.

An anchor is responsible for a box if neither of its sides differs from the box's by more than a factor of RATIO. So
are the cell that holds the box's centre and the two neighbours nearest to the centre, which decoding can reach (half a
cell): with three cells per box and anchor, small objects can be learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RATIO = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """M pairs of a box and a place in one head.

    image, anchor, row, column: (M,) the place in the head.
    xywh: (M, 4) the box, in cells.
    anchor_wh: (M, 2) in cells.
    class_id: (M,).
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    xywh: Tensor
    anchor_wh: Tensor
    class_id: Tensor


def match(targets: Tensor, anchors: Tensor, grid_hw: tuple[int, int], stride: int) -> Matches:
    """Match the boxes of a batch with one head.

    targets: (T, 6) image, class, centre x, centre y, width, height in input pixels. anchors: (A, 2) in cells.
    """
    boxes = targets[:, 2:] / stride
    ratio = boxes[None, :, 2:] / anchors[:, None]
    fits = torch.maximum(ratio, 1 / ratio).amax(2) < RATIO
    anchor, box = fits.nonzero(as_tuple=True)
    offset, pair = _cells(boxes[box, :2], grid_hw)
    anchor, box = anchor[pair], box[pair]
    cell = (boxes[box, :2] - offset).floor().long()
    return Matches(
        image=targets[box, 0].long(),
        anchor=anchor,
        row=cell[:, 1].clamp(0, grid_hw[0] - 1),
        column=cell[:, 0].clamp(0, grid_hw[1] - 1),
        xywh=boxes[box],
        anchor_wh=anchors[anchor],
        class_id=targets[box, 1].long(),
    )


def _cells(centres: Tensor, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Which cells each centre belongs to: (M, 2) offsets of half a cell to subtract, and (M,) positions of the boxes."""
    size = torch.tensor((grid_hw[1], grid_hw[0]), dtype=centres.dtype)
    inside = centres.frac()
    left_top = (inside < 0.5) & (centres > 1)
    right_bottom = (inside >= 0.5) & (centres < size - 1)
    half = 0.5
    steps = torch.tensor(((0, 0), (half, 0), (0, half), (-half, 0), (0, -half)), dtype=centres.dtype)
    own = torch.ones(len(centres), dtype=torch.bool)
    chosen = torch.stack((own, left_top[:, 0], left_top[:, 1], right_bottom[:, 0], right_bottom[:, 1]))
    step, pair = chosen.nonzero(as_tuple=True)
    return steps[step], pair
