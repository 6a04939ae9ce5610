"""`raysail import-weights`: convert a published YOLOv7 checkpoint to ONNX with a sidecar; nothing in it is executed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bmodel.errors import ConfigurationError, LibraryError
from bmodel.sidecar import write_sidecar

if TYPE_CHECKING:
    from models.checkpoint.import_weights import ImportedNetwork

AUTHORS_LICENCE: Final = "GPL-3.0"
"""The licence under which the YOLOv7 authors publish their weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """How to convert a checkpoint; `batch` None leaves the number of images open."""

    model: str = "auto"
    class_names: tuple[str, ...] | None = None
    input_hw: tuple[int, int] = (640, 640)
    batch: int | None = 1
    decoded: bool = False
    licence: str = AUTHORS_LICENCE


def command(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT.pt", help="the authors' checkpoint")],
    *,
    model: Annotated[
        str,
        typer.Option(
            metavar="auto|yolov7-tiny|yolov7|yolov7x|yolov7-e6e", help="which network it belongs to"
        ),
    ] = "auto",
    class_names: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="text file with one class name per line, instead of the checkpoint's names"
        ),
    ] = None,
    size: Annotated[str, typer.Option(metavar="SIDE|H,W", help="the network's input, pixels")] = "640",
    batch: Annotated[str, typer.Option(metavar="N|symbolic", help="images per launch")] = "1",
    decoded: Annotated[
        bool, typer.Option("--decoded", help="one decoded output instead of raw heads")
    ] = False,
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="folder for the ONNX file and its sidecar")
    ] = Path(),
    licence: Annotated[
        str, typer.Option(metavar="TEXT", help="the weights' licence, recorded in the sidecar")
    ] = AUTHORS_LICENCE,
) -> None:
    """Convert a published YOLOv7 checkpoint to ONNX with a sidecar; no code in the checkpoint is executed."""
    from jobs.inputs.resolve import read_class_names

    options = ImportOptions(
        model=model,
        class_names=None if class_names is None else read_class_names(class_names),
        input_hw=parse_size(size),
        batch=parse_batch(batch),
        decoded=decoded,
        licence=licence,
    )
    for line in import_checkpoint(checkpoint, output, options):
        typer.echo(line)


def import_checkpoint(checkpoint: Path, folder: Path, options: ImportOptions) -> list[str]:
    """Write `<checkpoint>_<H>x<W>[_b<N>][_decoded].onnx` and its sidecar; returns a report as lines.

    Raises ModelFileError on a checkpoint that is damaged, hostile or of another network, ConfigurationError on
    options that do not fit it, LibraryError without PyTorch or onnx.
    """
    _check_libraries()
    from models.checkpoint.checkpoint_weights import read_weights
    from models.checkpoint.import_weights import class_names_for, identify, load_network
    from models.yolov7.export_onnx import Provenance, describe_onnx, export_onnx
    from models.yolov7.family import model_name

    name = None if options.model == "auto" else model_name(options.model)
    weights = read_weights(checkpoint)
    imported = load_network(weights, name or identify(weights))
    names = class_names_for(weights, imported.class_count, options.class_names)
    path = folder / _file_name(checkpoint, options)
    folder.mkdir(parents=True, exist_ok=True)
    export_onnx(imported.network, path, options.input_hw, options.batch, decoded=options.decoded)
    provenance = Provenance(name=path.stem, class_names=names, licence=options.licence)
    spec = describe_onnx(
        imported.network, path, options.input_hw, options.batch, provenance, decoded=options.decoded
    )
    sidecar = write_sidecar(spec, path)
    return [
        *_report(imported),
        f"licence   {options.licence} (the weights keep their own)",
        f"written   {path}",
        f"          {sidecar}",
    ]


def _report(imported: ImportedNetwork) -> list[str]:
    form = "training" if imported.implicit else "deploy"
    lines = [
        f"network   {imported.name}, {imported.class_count} classes, {form} form",
        f"tensors   {imported.loaded} loaded, none missing, none unused",
    ]
    if imported.training_only:
        lines.append(f"          {len(imported.training_only)} of auxiliary branches dropped (training only)")
    return lines


def _file_name(checkpoint: Path, options: ImportOptions) -> str:
    batch = "" if options.batch == 1 else "_bN" if options.batch is None else f"_b{options.batch}"
    decoded = "_decoded" if options.decoded else ""
    return f"{checkpoint.stem}_{options.input_hw[0]}x{options.input_hw[1]}{batch}{decoded}.onnx"


def _check_libraries() -> None:
    for library in ("torch", "onnx"):
        if importlib.util.find_spec(library) is None:
            raise LibraryError(
                f"importing weights needs '{library}': install raysail with its extra 'models'"
            )


def parse_size(text: str) -> tuple[int, int]:
    """Read `640` or `384,640` (height, width); raises ConfigurationError."""
    sides = text.replace("x", ",").split(",")
    if len(sides) > 2 or not all(side.strip().isdecimal() for side in sides):
        raise ConfigurationError(f"--size: must be one side or HEIGHT,WIDTH in pixels, got '{text}'")
    return int(sides[0]), int(sides[-1])


def parse_batch(text: str) -> int | None:
    """Read a number of images, or `symbolic` for an open one; raises ConfigurationError."""
    if text == "symbolic":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigurationError(f"--batch: must be a positive whole number or 'symbolic', got '{text}'")
    return int(text)
