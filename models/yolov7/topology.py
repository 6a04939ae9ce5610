"""How a network of the YOLOv7 family is described: a numbered list of layers, each naming the layers it reads.

A layer's number is its place in the published checkpoints (`model.<number>.…`), so that weights find their
layer by name. Nothing here needs PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "conv", "repconv", "pool", "upsample", "concat", "add", "space_to_depth", "downsample", "pyramid_pool"
]
IMAGE = -1
"""The source that stands for the network's input."""

AnchorLevels = tuple[tuple[tuple[float, float], ...], ...]
"""Anchors (w, h) in input pixels, one tuple per head, finest head first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One numbered layer.

    `channels` is the output's, 0 where the layer keeps or adds up its inputs' channels; `kernel` and `stride` are square.
    """

    kind: Kind
    sources: tuple[int, ...]
    channels: int = 0
    kernel: int = 1
    stride: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Topology:
    """A whole network: its layers, and the detection layer that follows them.

    `heads` are the layers that the detection layer reads, in the order of `strides`; the detection layer's own
    number is `len(layers)`. `training_detect_index` is its number in checkpoints saved during training, where
    auxiliary branches come before it.
    """

    name: str
    activation: Literal["silu", "leaky_relu"]
    layers: tuple[Layer, ...]
    heads: tuple[int, ...]
    strides: tuple[int, ...]
    anchors: AnchorLevels
    training_detect_index: int

    @property
    def detect_index(self) -> int:
        """The detection layer's number."""
        return len(self.layers)


@dataclass(kw_only=True, slots=True)
class Plan:
    """Collects layers in order; every method adds one or more and returns the number of the last.

    Without a `source` a layer reads the one before it.
    """

    layers: list[Layer] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The number of the layer that was added last, IMAGE before the first."""
        return len(self.layers) - 1

    def add(self, layer: Layer) -> int:
        """Append a finished layer."""
        self.layers.append(layer)
        return self.last

    def conv(self, channels: int, kernel: int = 1, stride: int = 1, *, source: int | None = None) -> int:
        """Convolution, batch norm, activation."""
        reads = self.last if source is None else source
        return self.add(Layer(kind="conv", sources=(reads,), channels=channels, kernel=kernel, stride=stride))

    def repconv(self, channels: int, *, source: int) -> int:
        """Sum a 3×3 and a 1×1 convolution side by side: one 3×3 convolution once trained."""
        return self.add(Layer(kind="repconv", sources=(source,), channels=channels, kernel=3))

    def pool(self, kernel: int, stride: int, *, source: int | None = None) -> int:
        """Max pooling; with stride 1 the size is kept."""
        reads = self.last if source is None else source
        return self.add(Layer(kind="pool", sources=(reads,), kernel=kernel, stride=stride))

    def upsample(self) -> int:
        """Double height and width by repeating pixels."""
        return self.add(Layer(kind="upsample", sources=(self.last,)))

    def space_to_depth(self) -> int:
        """Halve height and width, four times the channels."""
        return self.add(Layer(kind="space_to_depth", sources=(self.last,)))

    def downsample(self, channels: int) -> int:
        """Halve height and width by a strided convolution and by pooling, side by side."""
        return self.add(Layer(kind="downsample", sources=(self.last,), channels=channels, stride=2))

    def pyramid_pool(self, channels: int) -> int:
        """Spatial pyramid pooling inside a cross-stage partial block."""
        return self.add(Layer(kind="pyramid_pool", sources=(self.last,), channels=channels))

    def concat(self, *sources: int) -> int:
        """Join channels, in the order given."""
        return self.add(Layer(kind="concat", sources=sources))

    def sum_of(self, *sources: int) -> int:
        """Add layers of equal shape."""
        return self.add(Layer(kind="add", sources=sources))
