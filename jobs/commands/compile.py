"""`raysail compile`: from an ONNX file to BModels, compared with it on the chip simulator."""

from __future__ import annotations

import tempfile
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from bmodel.compiler.toolchain import find_toolchain
from bmodel.layouts import parse_layout
from jobs.build.compile.compile_network import Report, SizeJob
from jobs.build.compile.compile_options import (
    CompileOptions,
    Quantisation,
    parse_method,
    parse_precision,
    read_layer_list,
)
from jobs.build.compile.source_network import input_shapes, parse_batches, parse_sizes, read_network
from jobs.config.choices import CALIBRATION_METHODS, PRECISIONS
from jobs.console.stop_signals import stoppable
from jobs.inputs.resolve import read_class_names


def command(
    network: Annotated[Path, typer.Argument(metavar="NET.onnx", help="the network to compile")],
    *,
    precision: Annotated[str, typer.Option(metavar="|".join(PRECISIONS))] = "fp32",
    batch: Annotated[
        str | None, typer.Option(metavar="N[,N]", help="images per launch; one BModel per value")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="SIDE|HxW[,…]", help="input size in pixels; one BModel per value")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="images to calibrate INT8 on")
    ] = None,
    calibration_count: Annotated[int, typer.Option(metavar="N", help="how many of them to use")] = 100,
    method: Annotated[
        str, typer.Option(metavar="|".join(CALIBRATION_METHODS), help="calibration method")
    ] = "kl",
    fp32_layers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="mixed: layers to keep in FP32, one per line")
    ] = None,
    fp32_count: Annotated[
        int,
        typer.Option(
            metavar="N", help="mixed without --fp32-layers: keep the N most sensitive layers in FP32"
        ),
    ] = 8,
    quantised_io: Annotated[
        bool, typer.Option("--quantised-io", help="INT8: 8-bit inputs and outputs")
    ] = False,
    anchors: Annotated[str | None, typer.Option(metavar="yolov7|yolov5|FILE")] = None,
    class_names: Annotated[
        Path | None, typer.Option(metavar="FILE", help="text file with one class name per line")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="how to read its outputs, if file and shapes leave a choice"),
    ] = None,
    verify_images: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="images to verify on [the calibration's or the sample's]"),
    ] = None,
    verify_count: Annotated[
        int, typer.Option(metavar="N", help="how many images to verify on; 0 skips verification")
    ] = 2,
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="folder for the builds, one folder each")
    ] = Path("build"),
    copy_to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="folder for another copy of BModel and sidecar")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="start of the file names [the network's name]")
    ] = None,
) -> None:
    """Compile an ONNX network for BM1684, predict its latency, and compare it with the original on the simulator."""
    quantisation = None
    if calibration is not None:
        quantisation = Quantisation(
            images=calibration,
            count=calibration_count,
            method=parse_method(method),
            fp32_layers=() if fp32_layers is None else read_layer_list(fp32_layers),
            fp32_count=fp32_count,
            quantised_io=quantised_io,
        )
    options = CompileOptions(
        precision=parse_precision(precision),
        batches=parse_batches(batch),
        sizes=parse_sizes(size),
        quantisation=quantisation,
        anchors=anchors,
        class_names=None if class_names is None else read_class_names(class_names),
        layout=None if layout is None else parse_layout(layout),
        verify_images=verify_images,
        verify_count=verify_count,
        output=output,
        copy_to=copy_to,
        name=name,
    )
    with stoppable():
        for path in compile_all(network, options, report=lambda line: typer.echo(line, err=True)):
            typer.echo(path)


def compile_all(network: Path, options: CompileOptions, *, report: Report) -> list[Path]:
    """Compile a network for every shape asked for; returns the BModels.

    Raises ToolError when a tool fails or a BModel differs too much from its twin; the BModels before stay.
    """
    find_toolchain()
    source = read_network(
        network, anchors=options.anchors, class_names=options.class_names, layout=options.layout
    )
    shapes = input_shapes(source.onnx, source.sidecar, options.batches, options.sizes)
    for shape in shapes:
        source.check(shape)
    compiled = []
    for input_hw, group in groupby(shapes, key=lambda shape: (shape[2], shape[3])):
        with tempfile.TemporaryDirectory(prefix="raysail-") as scratch:
            job = SizeJob(source=source, options=options, report=report, scratch=Path(scratch))
            job.prepare(input_hw)
            compiled += [job.compile(shape) for shape in group]
    return compiled
