"""`raysail inspect`: what a BModel or ONNX file holds, read without native libraries."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from bmodel.container import Container, Stage, Tensor, read_container
from bmodel.errors import ConfigurationError, RaysailError
from bmodel.files import file_sha256
from bmodel.model_file import has_class_names, load_spec
from bmodel.onnx_file import OnnxFile, OnnxTensor, read_onnx
from bmodel.sidecar import MODEL_SUFFIXES, ModelSpec, sidecar_path

WIDTH = 80


def command(
    file: Annotated[Path, typer.Argument(help="a .bmodel or .onnx file")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,  # noqa: FBT002
) -> None:
    """Show what a BModel or ONNX file holds; a damaged file is refused, naming the place and the rule."""
    suffix = file.suffix.lower()
    if suffix not in MODEL_SUFFIXES:
        raise ConfigurationError(f"file: must be a .bmodel or .onnx file, got '{file}'")
    if not file.is_file():
        raise ConfigurationError(f"file: '{file}' does not exist")
    model = read_container(file) if suffix == ".bmodel" else read_onnx(file)
    if as_json:
        sys.stdout.buffer.write(to_json(describe(model), indent=2) + b"\n")
        return
    console = Console(width=WIDTH, highlight=False, markup=False)
    for table in (*_tables(model), _fact_table(describe_detector(file))):
        console.print(table)


def describe(model: Container | OnnxFile) -> dict[str, Any]:
    """Return everything that the file states about itself, with its SHA-256, as plain values."""
    content: dict[str, Any] = asdict(model)
    content["sha256"] = file_sha256(model.path)
    content["has_sidecar"] = sidecar_path(model.path).is_file()
    content["detector"] = describe_detector(model.path)
    return content


def describe_detector(path: Path) -> dict[str, str]:
    """Return how detection reads a file: layout, classes, what it shows the network, and what it still needs."""
    missing = []
    try:
        spec = load_spec(path)
    except RaysailError as error:
        missing.append(str(error))
        try:
            # Anchors are all that may be missing: any will do to see the rest.
            spec = load_spec(path, anchors="yolov7")
        except RaysailError:
            return {"missing": missing[0]}
    if not has_class_names(spec):
        missing.append("class names: --class-names FILE, or a sidecar")
    names = ", ".join(spec.class_names[:4]) + (", …" if len(spec.class_names) > 4 else "")
    return {
        "layout": _layout_in_words(spec),
        "classes": f"{len(spec.class_names)}: {names}",
        "sees": _input_in_words(spec),
        "known from": "its sidecar" if sidecar_path(path).is_file() else "its shapes and metadata",
        "missing": "; ".join(missing) or "nothing",
    }


def _layout_in_words(spec: ModelSpec) -> str:
    if not spec.heads:
        return spec.layout
    strides = ", ".join(str(head.stride) for head in spec.heads)
    return f"{spec.layout}, strides {strides}, {len(spec.heads[0].anchors_wh)} anchors per cell"


def _input_in_words(spec: ModelSpec) -> str:
    """Like `RGB, 0 to 1, centred on grey 114, in 640 x 640 pixels`."""
    pixels = spec.normalisation
    low = [(0 - mean) * scale for mean, scale in zip(pixels.mean, pixels.scale, strict=True)]
    high = [(255 - mean) * scale for mean, scale in zip(pixels.mean, pixels.scale, strict=True)]
    place = {"centre": "centred on", "top-left": "at the top left of", "stretch": ""}[pixels.placement]
    border = f"{place} grey {pixels.padding}" if place else "stretched to fill it"
    height, width = spec.input_hw
    return f"{pixels.channels.upper()}, {min(low):.4g} to {max(high):.4g}, {border}, in {width} x {height} pixels"


def _tables(model: Container | OnnxFile) -> list[Table]:
    facts = {"file": str(model.path), "SHA-256": file_sha256(model.path)}
    if isinstance(model, OnnxFile):
        tensors = _tensor_table("ONNX")
        _add(tensors, "in", model.inputs)
        _add(tensors, "out", model.outputs)
        return [_fact_table(facts), tensors]
    facts |= {
        "bytes": f"{model.file_bytes:,}",
        "chip": model.chip,
        "compiler": model.compiler_version,
        "compiled": model.compiled_at,
    }
    tables = [_fact_table(facts)]
    for network in model.networks:
        for number, stage in enumerate(network.stages):
            tables += _stage_tables(f"network '{network.name}', stage {number}", stage)
    return tables


def _stage_tables(title: str, stage: Stage) -> list[Table]:
    tensors = _tensor_table(title)
    _add(tensors, "in", stage.inputs)
    _add(tensors, "out", stage.outputs)
    facts = {
        "weights": f"{stage.weight_bytes:,} bytes, whole",
        "their SHA-256": stage.weight_sha256 or "",
        "memory": f"{stage.neuron_bytes:,} bytes for intermediate values",
        "cores": str(stage.core_count),
        "shapes": "may vary" if stage.is_dynamic else "fixed",
    }
    return [tensors, _fact_table(facts)]


def _fact_table(facts: dict[str, str]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def _tensor_table(title: str) -> Table:
    table = Table(title=title, title_justify="left", width=WIDTH)
    table.add_column("")
    table.add_column("name", overflow="fold", ratio=1)
    table.add_column("type")
    table.add_column("shape", overflow="fold")
    table.add_column("scale", justify="right")
    table.add_column("zero", justify="right")
    return table


def _add(table: Table, direction: str, tensors: tuple[Tensor, ...] | tuple[OnnxTensor, ...]) -> None:
    for tensor in tensors:
        shape = " x ".join("?" if size is None else str(size) for size in tensor.shape)
        quantisation = (
            (f"{tensor.scale:g}", str(tensor.zero_point)) if isinstance(tensor, Tensor) else ("", "")
        )
        table.add_row(direction, tensor.name, tensor.dtype, shape, *quantisation)
