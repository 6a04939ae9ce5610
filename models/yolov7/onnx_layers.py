"""A fused network as an ONNX graph: what each block, each head and the decoding become."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from models.yolov7.detect_layer import DetectLayer
from models.yolov7.layers import ConvUnit, Downsample, PyramidPool
from models.yolov7.network import Network
from models.yolov7.onnx_graph import GraphWriter
from models.yolov7.topology import IMAGE, Layer

IMAGES = "images"
"""The input's name."""


def write_features(graph: GraphWriter, network: Network) -> list[str]:
    """Add every layer before the detection layer; returns what that reads, finest first."""
    names = {IMAGE: IMAGES}
    act = network.topology.activation
    for number, layer in enumerate(network.topology.layers):
        sources = [names[source] for source in layer.sources]
        names[number] = _write_block(graph, network.model[number], layer, sources, f"model.{number}", act)
    return [names[head] for head in network.topology.heads]


def _write_block(
    graph: GraphWriter, block: nn.Module, layer: Layer, sources: list[str], name: str, act: str
) -> str:
    match layer.kind:
        case "conv" | "repconv":
            return _unit(graph, block, sources[0], name, act)
        case "downsample":
            return _downsample(graph, block, sources[0], name, act)
        case "pyramid_pool":
            return _pyramid_pool(graph, block, sources[0], name, act)
        case "pool":
            padding = 0 if layer.stride > 1 else layer.kernel // 2
            return graph.max_pool(sources[0], layer.kernel, layer.stride, padding, name)
        case "upsample":
            return graph.double_size(sources[0], name)
        case "space_to_depth":
            return _space_to_depth(graph, sources[0], name)
        case "concat":
            return graph.concat(sources, 1, name)
        case "add":
            return graph.node("Add", sources, name)


def _unit(graph: GraphWriter, unit: ConvUnit, x: str, name: str, act: str) -> str:
    convolved = _convolution(graph, unit.conv, x, f"{name}.conv")
    return graph.activation(convolved, act, name)


def _convolution(graph: GraphWriter, conv: nn.Conv2d, x: str, name: str) -> str:
    return graph.convolution(x, _array(conv.weight), _array(conv.bias), conv.stride[0], name)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().float().cpu().numpy()


def _downsample(graph: GraphWriter, block: Downsample, x: str, name: str, act: str) -> str:
    narrow = _unit(graph, block.cv1, x, f"{name}.cv1", act)
    strided = _unit(graph, block.cv2, narrow, f"{name}.cv2", act)
    pooled = graph.max_pool(x, 2, 2, 0, f"{name}.mp")
    return graph.concat([strided, _unit(graph, block.cv3, pooled, f"{name}.cv3", act)], 1, name)


def _pyramid_pool(graph: GraphWriter, block: PyramidPool, x: str, name: str, act: str) -> str:
    narrow = x
    for part in ("cv1", "cv3", "cv4"):
        narrow = _unit(graph, getattr(block, part), narrow, f"{name}.{part}", act)
    pools = [graph.max_pool(narrow, kernel, 1, kernel // 2, f"{name}.m.{kernel}") for kernel in (5, 9, 13)]
    pooled = graph.concat([narrow, *pools], 1, f"{name}.pools")
    for part in ("cv5", "cv6"):
        pooled = _unit(graph, getattr(block, part), pooled, f"{name}.{part}", act)
    plain = _unit(graph, block.cv2, x, f"{name}.cv2", act)
    return _unit(graph, block.cv7, graph.concat([pooled, plain], 1, f"{name}.join"), name + ".cv7", act)


def _space_to_depth(graph: GraphWriter, x: str, name: str) -> str:
    corners = [
        graph.every_second_pixel(x, row, column, f"{name}.{row}{column}")
        for column in (0, 1)
        for row in (0, 1)
    ]
    return graph.concat(corners, 1, name)


def write_heads(
    graph: GraphWriter, detect: DetectLayer, features: list[str], input_hw: tuple[int, int], batch: int
) -> list[str]:
    """Add the raw heads, (N, anchors, H, W, 5 + classes) each; `batch` -1 leaves N open."""
    heads = []
    for conv, feature, stride in zip(detect.m, features, detect.strides, strict=True):
        name = f"head_stride{stride}"
        x = _convolution(graph, conv, feature, f"{name}.conv")
        split = (
            batch,
            detect.anchor_count,
            5 + detect.class_count,
            input_hw[0] // stride,
            input_hw[1] // stride,
        )
        x = graph.reshape(x, split, f"{name}.split")
        heads.append(graph.node("Transpose", [x], name, perm=[0, 1, 3, 4, 2]))
    return heads


def write_decoding(
    graph: GraphWriter, detect: DetectLayer, heads: list[str], input_hw: tuple[int, int], batch: int
) -> str:
    """Add the decoding of all heads into one output, (N, boxes, 5 + classes), finest head first.

    Rows are cx, cy, w, h in input pixels, objectness and class scores, all behind their sigmoid.
    """
    rows = []
    for head, stride, anchors in zip(heads, detect.strides, detect.anchor_levels(), strict=True):
        height, width = input_hw[0] // stride, input_hw[1] // stride
        scores = graph.node("Sigmoid", [head], f"{head}.sigmoid")
        decoded = graph.concat(
            [
                _centres(graph, scores, (height, width), stride, head),
                _sizes(graph, scores, np.asarray(anchors, dtype=np.float32), head),
                graph.last_axis(scores, 4, 5 + detect.class_count, f"{head}.scores"),
            ],
            4,
            f"{head}.decoded",
        )
        flat = (batch, detect.anchor_count * height * width, 5 + detect.class_count)
        rows.append(graph.reshape(decoded, flat, f"{head}.rows"))
    return graph.concat(rows, 1, "detections")


def _centres(graph: GraphWriter, scores: str, grid_hw: tuple[int, int], stride: int, head: str) -> str:
    """(2·sigmoid − 0.5 + cell) · stride."""
    rows, columns = np.indices(grid_hw, dtype=np.float32)
    corner = (np.stack([columns, rows], axis=-1)[None, None] - np.float32(0.5)) * np.float32(stride)
    xy = graph.last_axis(scores, 0, 2, f"{head}.xy")
    scaled = graph.node(
        "Mul",
        [xy, graph.constant(f"{head}.reach", np.asarray([2 * stride], dtype=np.float32))],
        f"{head}.scaled",
    )
    return graph.node("Add", [scaled, graph.constant(f"{head}.grid", corner)], f"{head}.centres")


def _sizes(graph: GraphWriter, scores: str, anchors_wh: Any, head: str) -> str:
    """(2·sigmoid)² · anchor."""
    wh = graph.last_axis(scores, 2, 4, f"{head}.wh")
    squared = graph.node("Mul", [wh, wh], f"{head}.squared")
    largest = graph.constant(f"{head}.largest", (4 * anchors_wh)[None, :, None, None, :])
    return graph.node("Mul", [squared, largest], f"{head}.sizes")
