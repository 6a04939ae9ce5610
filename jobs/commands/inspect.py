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
from bmodel.errors import ConfigurationError
from bmodel.files import file_sha256
from bmodel.onnx_file import OnnxFile, OnnxTensor, read_onnx
from bmodel.sidecar import MODEL_SUFFIXES, sidecar_path

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
    for table in _tables(model):
        console.print(table)


def describe(model: Container | OnnxFile) -> dict[str, Any]:
    """Return everything that the file states about itself, with its SHA-256, as plain values."""
    content: dict[str, Any] = asdict(model)
    content["sha256"] = file_sha256(model.path)
    content["has_sidecar"] = sidecar_path(model.path).is_file()
    return content


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
