"""The detection layer: one 1×1 convolution per head, and the implicit values of the training form."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from models.yolov7.layers import Implicit
from models.yolov7.topology import AnchorLevels

OBJECTS_PER_IMAGE: Final = 8
"""Objects that an untrained network expects per image, spread over the cells of each head."""


class DetectLayer(nn.Module):
    """Raw heads: box, objectness and class scores of every anchor in every cell, before any sigmoid.

    `anchors` (in strides) and `anchor_grid` (in input pixels) are kept as the published checkpoints keep them.
    With `implicit`, `ia` shifts a head's input and `im` scales its output.
    Raises ValueError if the anchors do not have the shape (heads, anchors per head, 2).
    """

    anchors: Tensor
    anchor_grid: Tensor

    def __init__(
        self,
        reads: tuple[int, ...],
        anchors: AnchorLevels,
        strides: tuple[int, ...],
        class_count: int,
        *,
        implicit: bool,
    ) -> None:
        super().__init__()
        self.class_count = class_count
        self.strides = strides
        self.anchor_count = len(anchors[0])
        outputs = self.anchor_count * (5 + class_count)
        self.m = nn.ModuleList(nn.Conv2d(read, outputs, 1) for read in reads)
        if implicit:
            self.ia = nn.ModuleList(Implicit(read, 0.0) for read in reads)
            self.im = nn.ModuleList(Implicit(outputs, 1.0) for _ in reads)
        self.register_buffer("anchors", torch.zeros(len(reads), self.anchor_count, 2))
        self.register_buffer("anchor_grid", torch.zeros(len(reads), 1, self.anchor_count, 1, 1, 2))
        self.set_anchors(anchors)
        self.set_prior_biases()

    @property
    def has_implicit(self) -> bool:
        """Whether implicit values are still separate from the convolutions."""
        return hasattr(self, "ia")

    def set_anchors(self, anchors: AnchorLevels) -> None:
        """Replace the anchors: (w, h) in input pixels, finest head first.

        Raises ValueError if there are not as many per head as before.
        """
        wh = torch.tensor(anchors, dtype=torch.float32)
        if wh.shape != self.anchors.shape:
            raise ValueError(f"anchors must have shape {tuple(self.anchors.shape)}, got {tuple(wh.shape)}")
        self.anchors.copy_(wh / torch.tensor(self.strides).view(-1, 1, 1))
        self.anchor_grid.copy_(wh.view(self.anchor_grid.shape))

    def anchor_levels(self) -> AnchorLevels:
        """Return the anchors, (w, h) in input pixels, finest head first."""
        levels = self.anchor_grid.flatten(0, 4).view(len(self.strides), self.anchor_count, 2).tolist()
        return tuple(tuple((width, height) for width, height in level) for level in levels)

    def set_prior_biases(self, image_px: int = 640) -> None:
        """Start training from rare objects instead of even odds; empty cells would otherwise drown the first steps.

        Objectness starts at OBJECTS_PER_IMAGE over the cells of an image of `image_px` squared, each class at
        0.6 over the number of classes.
        """
        class_logit = math.log(0.6 / (self.class_count - 0.6))
        for head, stride in zip(self.m, self.strides, strict=True):
            bias = head.bias.detach().view(self.anchor_count, -1)
            bias[:, 4] = math.log(OBJECTS_PER_IMAGE / (image_px / stride) ** 2)
            bias[:, 5:] = class_logit

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """One (N, C, H, W) per head → one (N, anchors, H, W, 5 + classes) per head."""
        return [self._head(level, x) for level, x in enumerate(features)]

    def _head(self, level: int, x: Tensor) -> Tensor:
        if self.has_implicit:
            x = self.im[level].implicit * self.m[level](x + self.ia[level].implicit)
        else:
            x = self.m[level](x)
        batch, _, height, width = x.shape
        split = x.view(batch, self.anchor_count, 5 + self.class_count, height, width)
        return split.permute(0, 1, 3, 4, 2).contiguous()
