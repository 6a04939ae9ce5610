"""Writes a network of the family as an ONNX file with its sidecar.

python -m models.yolov7.export_onnx --model yolov7 --size 640 --random --output yolov7.onnx
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from bmodel.errors import ConfigurationError
from bmodel.files import file_sha256
from bmodel.sidecar import HeadSpec, ModelSpec, TensorSpec, write_sidecar
from models.yolov7.family import MODEL_NAMES
from models.yolov7.fuse import fuse
from models.yolov7.network import Network, build_network
from models.yolov7.onnx_graph import GraphWriter
from models.yolov7.onnx_layers import IMAGES, write_decoding, write_features, write_heads


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """What a sidecar records of a network beside its shapes."""

    name: str
    class_names: tuple[str, ...]
    licence: str | None = None


def export_onnx(
    network: Network,
    path: Path,
    input_hw: tuple[int, int],
    batch: int | None = 1,
    *,
    decoded: bool = False,
) -> None:
    """Write the fused network; `batch` None leaves the number of images open.

    Outputs are the raw heads, (N, anchors, H, W, 5 + classes) each, finest first; with `decoded` one output
    (N, boxes, 5 + classes) of cx, cy, w, h in input pixels and scores. Raises ConfigurationError if the input size
    is not a multiple of the largest stride.
    """
    import onnx

    check_input_hw(network, input_hw)
    graph = GraphWriter.new(network.topology.name)
    first: int | str = "batch" if batch is None else batch
    graph.declare_input(IMAGES, (first, 3, *input_hw))
    outputs = _write_network(graph, fuse(network), input_hw, -1 if batch is None else batch, decoded=decoded)
    for name, shape in zip(outputs, output_shapes(network, input_hw, decoded=decoded), strict=True):
        graph.declare_output(name, (first, *shape))
    onnx.save(graph.model, str(path))


def _write_network(
    graph: GraphWriter, fused: Network, input_hw: tuple[int, int], batch: int, *, decoded: bool
) -> list[str]:
    heads = write_heads(graph, fused.detect, write_features(graph, fused), input_hw, batch)
    return [write_decoding(graph, fused.detect, heads, input_hw, batch)] if decoded else heads


def check_input_hw(network: Network, input_hw: tuple[int, int]) -> None:
    """Raise ConfigurationError unless height and width are positive multiples of the largest stride."""
    stride = max(network.detect.strides)
    if min(input_hw) < stride or any(side % stride for side in input_hw):
        raise ConfigurationError(
            f"the input size of '{network.topology.name}' must be multiples of {stride}, "
            f"got {input_hw[0]}x{input_hw[1]}"
        )


def output_shapes(
    network: Network, input_hw: tuple[int, int], *, decoded: bool
) -> tuple[tuple[int, ...], ...]:
    """Shapes of the outputs without their first dimension, the batch."""
    detect = network.detect
    row = 5 + detect.class_count
    grids = [(input_hw[0] // stride, input_hw[1] // stride) for stride in detect.strides]
    if decoded:
        return ((sum(detect.anchor_count * height * width for height, width in grids), row),)
    return tuple((detect.anchor_count, height, width, row) for height, width in grids)


def describe_onnx(
    network: Network,
    path: Path,
    input_hw: tuple[int, int],
    batch: int | None,
    provenance: Provenance,
    *,
    decoded: bool = False,
) -> ModelSpec:
    """Describe the file that `export_onnx` wrote with the same arguments; an open batch counts as 1."""
    import onnx

    rows = batch or 1
    shapes = output_shapes(network, input_hw, decoded=decoded)
    detect = network.detect
    names = ["detections"] if decoded else [f"head_stride{stride}" for stride in detect.strides]
    heads = tuple(
        HeadSpec(output=level, stride=stride, anchors_wh=anchors)
        for level, (stride, anchors) in enumerate(zip(detect.strides, detect.anchor_levels(), strict=True))
    )
    return ModelSpec(
        name=provenance.name,
        file_sha256=file_sha256(path),
        input=TensorSpec(name=IMAGES, shape=(rows, 3, *input_hw)),
        outputs=tuple(
            TensorSpec(name=name, shape=(rows, *shape)) for name, shape in zip(names, shapes, strict=True)
        ),
        layout="decoded" if decoded else "heads",
        heads=() if decoded else heads,
        class_names=provenance.class_names,
        tools={"onnx": onnx.__version__},
        licence=provenance.licence,
    )


def main(arguments: list[str] | None = None) -> None:
    """Export a family member with random weights, to see how such a network compiles and how fast it runs."""
    import torch

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", choices=MODEL_NAMES, required=True)
    parser.add_argument(
        "--random", action="store_true", required=True, help="random weights, from a fixed seed"
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs="+", default=[640], help="one side, or height and width")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=1, help="images per launch; 0 leaves it open")
    parser.add_argument("--decoded", action="store_true", help="one output of boxes instead of raw heads")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    network = build_network(options.model, options.classes, width=options.width)
    input_hw = (options.size[0], options.size[-1])
    batch = options.batch or None
    export_onnx(network, options.output, input_hw, batch, decoded=options.decoded)
    provenance = Provenance(
        name=f"{options.model} (random weights)",
        class_names=tuple(f"class_{number}" for number in range(options.classes)),
    )
    spec = describe_onnx(network, options.output, input_hw, batch, provenance, decoded=options.decoded)
    write_sidecar(spec, options.output)


if __name__ == "__main__":
    main()
