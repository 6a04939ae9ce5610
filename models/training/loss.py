"""The training loss: how far boxes, objectness and classes are from the truth.

Box: 1 − CIoU (Zheng et al., "Distance-IoU loss", 2020). Objectness: binary cross-entropy towards the IoU that the
box has reached, so that confidence comes to mean quality. Class: binary cross-entropy per class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.training.assignment import Matches, match

LEVEL_WEIGHTS = (4.0, 1.0, 0.4)
"""Objectness of the finest head counts most: it has most cells, and the fewest of them hold an object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """How much each part counts."""

    box: float = 1.0
    objectness: float = 9.0
    classes: float = 0.6


@dataclass(frozen=True, slots=True)
class Loss:
    """The parts of a batch's loss, weighted, each a scalar; their sum is minimised."""

    box: Tensor
    objectness: Tensor
    classes: Tensor

    @property
    def total(self) -> Tensor:
        """The loss that training minimises, a scalar."""
        return self.box + self.objectness + self.classes


def compute_loss(
    heads: list[Tensor], targets: Tensor, anchors: Tensor, strides: tuple[int, ...], weights: LossWeights
) -> Loss:
    """Loss of raw heads, (N, A, H, W, 5 + C) each, against targets (T, 6) as `match` takes them.

    anchors: (levels, A, 2) in cells of their level.
    """
    box, objectness, classes = (torch.zeros(()) for _ in range(3))
    for level, raw in enumerate(heads):
        head = raw.float()
        wanted = torch.zeros(head.shape[:4])
        found = match(targets, anchors[level], (head.shape[2], head.shape[3]), strides[level])
        if len(found.image):
            answers = head[found.image, found.anchor, found.row, found.column]
            overlap = ciou(decode(answers, found), found.xywh)
            box = box + (1.0 - overlap).mean()
            classes = classes + _class_loss(answers[:, 5:], found.class_id)
            _raise_to(wanted, found, overlap.detach().clamp(0.0))
        part = functional.binary_cross_entropy_with_logits(head[..., 4], wanted)
        objectness = objectness + part * LEVEL_WEIGHTS[level]
    return Loss(box * weights.box, objectness * weights.objectness, classes * weights.classes)


def decode(answers: Tensor, matches: Matches) -> Tensor:
    """(M, 4) boxes (centre x, centre y, width, height) in cells from raw answers.

    The centre reaches half a cell beyond its own, the size from 0 to 4 anchors.
    """
    squashed = answers[:, :4].sigmoid()
    cell = torch.stack((matches.column, matches.row), 1)
    centre = squashed[:, :2] * 2 - 0.5 + cell
    size = (squashed[:, 2:] * 2) ** 2 * matches.anchor_wh
    return torch.cat((centre, size), 1)


def ciou(first: Tensor, second: Tensor) -> Tensor:
    """(M,) complete IoU of boxes given by centre and size: overlap, less centre distance and difference in aspect."""
    tiny = 1e-7
    low_a, high_a = first[:, :2] - first[:, 2:] / 2, first[:, :2] + first[:, 2:] / 2
    low_b, high_b = second[:, :2] - second[:, 2:] / 2, second[:, :2] + second[:, 2:] / 2
    shared = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp(0).prod(1)
    united = first[:, 2:].prod(1) + second[:, 2:].prod(1) - shared + tiny
    iou = shared / united
    hull = torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)
    apart = ((first[:, :2] - second[:, :2]) ** 2).sum(1) / ((hull**2).sum(1) + tiny)
    slant = torch.atan(second[:, 2] / (second[:, 3] + tiny)) - torch.atan(first[:, 2] / (first[:, 3] + tiny))
    aspect = 4 / math.pi**2 * slant**2
    with torch.no_grad():
        share = aspect / (1 - iou + aspect + tiny)
    return iou - apart - share * aspect


def _class_loss(logits: Tensor, class_id: Tensor) -> Tensor:
    wanted = torch.zeros_like(logits)
    wanted[torch.arange(len(class_id)), class_id] = 1.0
    return functional.binary_cross_entropy_with_logits(logits, wanted)


def _raise_to(wanted: Tensor, matches: Matches, overlap: Tensor) -> None:
    """Set the wanted objectness of every matched place; where boxes share a place, the best overlap counts."""
    _, anchors, height, width = wanted.shape
    place = ((matches.image * anchors + matches.anchor) * height + matches.row) * width + matches.column
    wanted.view(-1).scatter_reduce_(0, place, overlap, "amax")
