"""The same network for another input size: its ONNX file again, with other shapes and the same weights.

    python -m models.resize_onnx models/sample_yolov7tiny_416.onnx --size 320 --output sample_yolov7tiny_320.onnx

For files that `models.yolov7.export_onnx` wrote with raw heads: such a network is convolutional throughout, only its input,
its outputs and the splitting of its heads name a size. Needs onnx, and no PyTorch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bmodel.errors import ConfigurationError, RaysailError
from bmodel.files import file_sha256
from bmodel.model_file import load_spec
from bmodel.sidecar import ModelSpec, write_sidecar


def resize_onnx(source: Path, target: Path, input_hw: tuple[int, int]) -> ModelSpec:
    """Write `target` and its sidecar; returns what the sidecar says.

    Raises ConfigurationError for a size that is no multiple of the largest stride, and for a file of another make;
    ModelFileError for a damaged one.
    """
    import onnx

    spec = load_spec(source)
    resized = _resized(spec, input_hw, source)
    model = onnx.load(str(source))
    for head in spec.heads:
        before, after = spec.outputs[head.output], resized.outputs[head.output]
        _set_split(model.graph, before.name, before.shape[2:4], after.shape[2:4], source)
    for value, tensor in zip(
        (*model.graph.input, *model.graph.output), (resized.input, *resized.outputs), strict=True
    ):
        for dimension, size in zip(value.type.tensor_type.shape.dim, tensor.shape, strict=True):
            if dimension.HasField("dim_value"):  # an open batch stays open
                dimension.dim_value = size
    onnx.save(model, str(target))
    resized = resized.model_copy(
        update={
            "name": target.stem,
            "file_sha256": file_sha256(target),
            "source_name": None,
            "source_sha256": None,
        }
    )
    write_sidecar(resized, target)
    return resized


def _resized(spec: ModelSpec, input_hw: tuple[int, int], place: Path) -> ModelSpec:
    if spec.layout != "heads":
        raise ConfigurationError(
            f"a network with decoded outputs cannot be resized, its size is in too many places: '{place}'"
        )
    largest = max(head.stride for head in spec.heads)
    if min(input_hw) < largest or any(side % largest for side in input_hw):
        raise ConfigurationError(
            f"--size: both sides must be multiples of {largest}, the largest stride, got {input_hw[0]}x{input_hw[1]}"
        )
    outputs = list(spec.outputs)
    for head in spec.heads:
        tensor = outputs[head.output]
        batch, anchors, _, _, rows = tensor.shape
        shape = (batch, anchors, *(side // head.stride for side in input_hw), rows)
        outputs[head.output] = tensor.model_copy(update={"shape": shape})
    first = spec.input.model_copy(update={"shape": (*spec.input.shape[:2], *input_hw)})
    return spec.model_copy(update={"input": first, "outputs": tuple(outputs), "latency": None})


def _set_split(graph: Any, head: str, before: tuple[int, ...], after: tuple[int, ...], place: Path) -> None:
    """Give the reshape of a head, whose last two dimensions are rows and columns of cells, its new cells."""
    from onnx import numpy_helper

    name = f"{head}.split.shape"
    for constant in graph.initializer:
        if constant.name == name:
            shape = numpy_helper.to_array(constant)
            if shape.shape == (5,) and tuple(shape[3:].tolist()) == before:
                constant.CopyFrom(numpy_helper.from_array(np.array([*shape[:3], *after], shape.dtype), name))
                return
    raise ConfigurationError(
        f"'{place}' was not written by models.yolov7.export_onnx: it has no constant '{name}' of five numbers that end in {before}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Write the network for another size."""
    parser = argparse.ArgumentParser(prog="python -m models.resize_onnx", description=main.__doc__)
    parser.add_argument("network", type=Path, metavar="NET.onnx")
    parser.add_argument("--size", required=True, metavar="SIDE|HxW", help="pixels, height before width")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.onnx")
    options = parser.parse_args(arguments)
    try:
        sides = [int(side) for side in options.size.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in {1, 2}:
        parser.error(f"--size: must be SIDE or HEIGHTxWIDTH, got '{options.size}'")
    try:
        spec = resize_onnx(options.network, options.output, (sides[0], sides[-1]))
    except RaysailError as error:
        sys.exit(f"raysail: {error}")
    sys.stdout.write(f"{options.output}: {spec.input.shape}\n")


if __name__ == "__main__":
    main()
