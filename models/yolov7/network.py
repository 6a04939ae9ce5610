"""The YOLOv7 family in PyTorch: a topology becomes a network that trains, and takes published weights by name.

build_network("yolov7-tiny", class_count=3, width=0.5)      untrained
network(images)                                             raw heads, (N, anchors, H, W, 5 + classes) each
models.yolov7.fuse.fuse(network)                            the same function without batch norm
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from bmodel.errors import ConfigurationError
from models.yolov7 import layers
from models.yolov7.detect_layer import DetectLayer
from models.yolov7.family import ModelName, topology
from models.yolov7.topology import IMAGE, AnchorLevels, Layer, Topology

CHANNEL_STEP = 16
"""A narrowed network's channels are multiples of this: other widths are slower, not faster."""


class Network(nn.Module):
    """A network of numbered layers; `model[i]` is layer i, the last is the detection layer."""

    def __init__(self, plan: Topology, blocks: list[nn.Module], detect: DetectLayer) -> None:
        super().__init__()
        self.topology = plan
        self.model = nn.ModuleList([*blocks, detect])
        self._last_reader = _last_readers(plan)

    @property
    def detect(self) -> DetectLayer:
        """The detection layer; raises TypeError if the last layer is another one."""
        layer = self.model[-1]
        if not isinstance(layer, DetectLayer):
            raise TypeError(f"the last layer must be a DetectLayer, got {type(layer).__name__}")
        return layer

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W), H and W multiples of the largest stride → raw heads, finest first."""
        return self.detect(self.features(images))

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute what the detection layer reads, (N, C, H / stride, W / stride) per head."""
        kept: dict[int, Tensor] = {IMAGE: images}
        for number, layer in enumerate(self.topology.layers):
            kept[number] = self.model[number](*(kept[source] for source in layer.sources))
            # Dropped after its last reader: the large networks would otherwise hold every layer's output.
            for source in {*layer.sources}:
                if self._last_reader[source] == number:
                    del kept[source]
        return [kept[head] for head in self.topology.heads]


def _last_readers(plan: Topology) -> dict[int, int]:
    readers = {source: number for number, layer in enumerate(plan.layers) for source in layer.sources}
    return readers | dict.fromkeys(plan.heads, plan.detect_index)


def build_network(
    name: ModelName,
    class_count: int,
    *,
    width: float = 1.0,
    head_p5_channels: int | None = None,
    anchors: AnchorLevels | None = None,
    implicit: bool = False,
) -> Network:
    """Make an untrained network of the family, its detection biases set for training.

    `width` multiplies every channel count (then rounded up to multiples of 16), `head_p5_channels` replaces the
    width of the last head's convolution, `anchors` the published ones, `implicit` adds the training form's
    implicit values. Raises ConfigurationError.
    """
    plan = topology(name)
    if class_count < 1:
        raise ConfigurationError(f"class_count must be at least 1, got {class_count}")
    if width <= 0:
        raise ConfigurationError(f"width must be positive, got {width}")
    overrides = {} if head_p5_channels is None else {plan.heads[-1]: head_p5_channels}
    blocks, channels = _build_blocks(plan, width, overrides)
    detect = DetectLayer(
        tuple(channels[head] for head in plan.heads),
        plan.anchors if anchors is None else anchors,
        plan.strides,
        class_count,
        implicit=implicit,
    )
    return Network(plan, blocks, detect)


def _build_blocks(
    plan: Topology, width: float, overrides: dict[int, int]
) -> tuple[list[nn.Module], dict[int, int]]:
    """Every layer's module, and every layer's channels."""
    channels = {IMAGE: 3}
    blocks = []
    for number, layer in enumerate(plan.layers):
        reads = [channels[source] for source in layer.sources]
        out = overrides.get(number) or _scaled(layer.channels, width)
        channels[number] = _channels_out(layer, reads, out)
        blocks.append(_block(layer, reads[0], out, plan.activation))
    return blocks, channels


def _scaled(channels: int, width: float) -> int:
    if width == 1.0:
        return channels
    return math.ceil(channels * width / CHANNEL_STEP) * CHANNEL_STEP


def _channels_out(layer: Layer, reads: list[int], out: int) -> int:
    match layer.kind:
        case "concat":
            return sum(reads)
        case "space_to_depth":
            return 4 * reads[0]
        case "pool" | "upsample" | "add":
            return reads[0]
        case _:
            return out


def _block(layer: Layer, read: int, out: int, act: str) -> nn.Module:
    match layer.kind:
        case "conv":
            return layers.ConvUnit(read, out, layer.kernel, layer.stride, act=act)
        case "repconv":
            return layers.RepConv(read, out, act=act)
        case "downsample":
            return layers.Downsample(read, out, act=act)
        case "pyramid_pool":
            return layers.PyramidPool(read, out, act=act)
        case "pool":
            padding = 0 if layer.stride > 1 else layer.kernel // 2
            return nn.MaxPool2d(layer.kernel, layer.stride, padding)
        case "upsample":
            return nn.Upsample(scale_factor=2.0, mode="nearest")
        case "space_to_depth":
            return layers.SpaceToDepth()
        case "concat":
            return layers.Concat()
        case "add":
            return layers.Add()


def parameter_count(network: nn.Module) -> int:
    """Trainable values in the network."""
    return sum(parameter.numel() for parameter in network.parameters())
