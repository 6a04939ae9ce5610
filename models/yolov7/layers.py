"""The building blocks of the YOLOv7 family in PyTorch.

Attribute names are those of the published checkpoints (`conv`, `bn`, `rbr_dense`, `cv1` …): weights find their
tensor by name. `models.yolov7.fuse` turns blocks with batch norm into equivalent ones without.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

BATCH_NORM_EPS: Final = 1e-3
"""What the published networks were trained with; PyTorch's own default is 1e-5."""
BATCH_NORM_MOMENTUM: Final = 0.03


def activation(name: str) -> nn.Module:
    """Make an activation: `silu`, or else a leaky ReLU of slope 0.1."""
    return nn.SiLU(inplace=True) if name == "silu" else nn.LeakyReLU(0.1, inplace=True)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with the family's constants."""
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)


def convolution(read: int, out: int, kernel: int, stride: int) -> nn.Conv2d:
    """Make a convolution without bias that keeps height and width, apart from its stride."""
    return nn.Conv2d(read, out, kernel, stride, padding=kernel // 2, bias=False)


class ConvUnit(nn.Module):
    """Convolution, batch norm, activation."""

    def __init__(self, read: int, out: int, kernel: int = 1, stride: int = 1, *, act: str) -> None:
        super().__init__()
        self.conv = convolution(read, out, kernel, stride)
        self.bn: nn.Module = batch_norm(out)
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """(N, read, H, W) → (N, out, H / stride, W / stride)."""
        return self.act(self.bn(self.conv(x)))


class RepConv(nn.Module):
    """A 3×3 and a 1×1 convolution, each with batch norm, summed and activated."""

    def __init__(self, read: int, out: int, *, act: str) -> None:
        super().__init__()
        self.rbr_dense = nn.Sequential(convolution(read, out, 3, 1), batch_norm(out))
        self.rbr_1x1 = nn.Sequential(convolution(read, out, 1, 1), batch_norm(out))
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """(N, read, H, W) → (N, out, H, W)."""
        return self.act(self.rbr_dense(x) + self.rbr_1x1(x))


class Downsample(nn.Module):
    """Halve height and width: half of the channels from a strided convolution, half from pooling."""

    def __init__(self, read: int, out: int, *, act: str) -> None:
        super().__init__()
        self.cv1 = ConvUnit(read, read, act=act)
        self.cv2 = ConvUnit(read, out // 2, 3, 2, act=act)
        self.cv3 = ConvUnit(read, out // 2, act=act)
        self.mp = nn.MaxPool2d(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, read, H, W) → (N, out, H / 2, W / 2)."""
        return torch.cat((self.cv2(self.cv1(x)), self.cv3(self.mp(x))), dim=1)


class PyramidPool(nn.Module):
    """Pooling at four scales (1, 5, 9, 13 pixels) beside a plain 1×1 branch."""

    def __init__(self, read: int, out: int, *, act: str) -> None:
        super().__init__()
        self.cv1 = ConvUnit(read, out, act=act)
        self.cv2 = ConvUnit(read, out, act=act)
        self.cv3 = ConvUnit(out, out, 3, act=act)
        self.cv4 = ConvUnit(out, out, act=act)
        self.m = nn.ModuleList(nn.MaxPool2d(kernel, 1, kernel // 2) for kernel in (5, 9, 13))
        self.cv5 = ConvUnit(4 * out, out, act=act)
        self.cv6 = ConvUnit(out, out, 3, act=act)
        self.cv7 = ConvUnit(2 * out, out, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """(N, read, H, W) → (N, out, H, W)."""
        narrow = self.cv4(self.cv3(self.cv1(x)))
        pooled = self.cv6(self.cv5(torch.cat([narrow, *(pool(narrow) for pool in self.m)], dim=1)))
        return self.cv7(torch.cat((pooled, self.cv2(x)), dim=1))


class SpaceToDepth(nn.Module):
    """Each 2×2 block of pixels becomes four times the channels, column by column."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, 4C, H / 2, W / 2)."""
        corners = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return torch.cat(corners, dim=1)


class Concat(nn.Module):
    """Joins channels."""

    def forward(self, *sources: Tensor) -> Tensor:
        """(N, C1, H, W), (N, C2, H, W) … → (N, C1 + C2 + …, H, W)."""
        return torch.cat(sources, dim=1)


class Add(nn.Module):
    """Adds layers of equal shape."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two of (N, C, H, W) → (N, C, H, W)."""
        return first + second


class Implicit(nn.Module):
    """One learnt value per channel, the same everywhere: added before a head, or multiplied after it."""

    def __init__(self, channels: int, mean: float) -> None:
        super().__init__()
        self.implicit = nn.Parameter(torch.empty(1, channels, 1, 1).normal_(mean, 0.02))
