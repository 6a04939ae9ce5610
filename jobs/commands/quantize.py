"""`raysail quantize`: what INT8 costs in accuracy and saves in time, and which layers are worth keeping in FP32."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from bmodel.compiler.toolchain import find_toolchain
from bmodel.errors import ConfigurationError
from bmodel.libraries import find_simulator_libraries
from jobs.build.compile.compile_options import parse_method
from jobs.build.compile.source_network import input_shapes, read_network
from jobs.build.quantize.analysis import Analysis, fingerprint, read_truth
from jobs.build.quantize.choice import Study, judge
from jobs.build.quantize.quantize_options import METHODS, Bench, QuantizeOptions, split_images
from jobs.build.quantize.quantize_page import write_report
from jobs.console.stop_signals import stoppable
from jobs.inputs.resolve import read_class_names


def command(
    network: Annotated[Path, typer.Argument(metavar="NET.onnx", help="a detector with raw heads")],
    *,
    calibration: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="images without ground truth, for calibration and selection"),
    ],
    images: Annotated[Path, typer.Option(metavar="FOLDER", help="other images, for scoring")],
    ground_truth: Annotated[Path, typer.Option(metavar="PATH", help="ground truth of --images")],
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="folder for the work; the same command again resumes it")
    ] = Path("build/quantize"),
    report: Annotated[
        Path | None,
        typer.Option(metavar="STEM", help="results: STEM.json and STEM.md [int8 in the output folder]"),
    ] = None,
    batch: Annotated[int, typer.Option(metavar="N", help="images per launch")] = 1,
    calibration_count: Annotated[int, typer.Option(metavar="N", help="images to calibrate on")] = 100,
    tuning_count: Annotated[int, typer.Option(metavar="N", help="images for selection, at most 32")] = 16,
    search_count: Annotated[int, typer.Option(metavar="N", help="images to rank layers on, at most 32")] = 16,
    methods: Annotated[str, typer.Option(metavar="M[,M]", help="calibration methods")] = ",".join(METHODS),
    finalists: Annotated[int, typer.Option(metavar="N", help="networks to score, 3 to 6")] = 6,
    tolerance: Annotated[
        float, typer.Option(metavar="AP50", help="AP50 that a mixed network may lose")
    ] = 0.005,
    minutes: Annotated[
        float, typer.Option(metavar="N", help="minutes of work, including earlier runs")
    ] = 60.0,
    anchors: Annotated[str | None, typer.Option(metavar="yolov7|yolov5|FILE")] = None,
    class_names: Annotated[
        Path | None, typer.Option(metavar="FILE", help="text file with one class name per line")
    ] = None,
) -> None:
    """Compare FP32, INT8 and mixed precision on the chip simulator: accuracy, errors, predicted time, score."""
    options = QuantizeOptions(
        calibration=calibration,
        images=images,
        ground_truth=ground_truth,
        output=output,
        report=report or output / "int8",
        batch=batch,
        calibration_count=calibration_count,
        tuning_count=tuning_count,
        search_count=search_count,
        methods=tuple(parse_method(method) for method in methods.split(",")),
        finalists=finalists,
        tolerance=tolerance,
        minutes=minutes,
        anchors=anchors,
        class_names=None if class_names is None else read_class_names(class_names),
    )
    with stoppable():
        study = analyse(network, options, report=lambda line: typer.echo(line, err=True))
    typer.echo(study.verdict.text)
    typer.echo(f"{options.report}.md")


def analyse(network: Path, options: QuantizeOptions, *, report: Callable[[str], None]) -> Study:
    """Analyse a network and write the report; resumes where an earlier run ended."""
    tpu_mlir = find_toolchain().record.tpu_mlir
    find_simulator_libraries()
    source = read_network(network, anchors=options.anchors, class_names=options.class_names)
    shape = input_shapes(source.onnx, source.sidecar, (options.batch,), ())[0]
    spec = source.check(shape)
    if spec.layout != "heads":
        raise ConfigurationError(
            f"NET.onnx: must have raw heads, whose errors are analysed, and '{network}' has the layout '{spec.layout}'"
        )
    split = split_images(options)
    truth = read_truth(options, split, spec.class_names)
    bench = Bench.open(
        options.output, fingerprint(source, split, options, tpu_mlir), minutes=options.minutes, report=report
    )
    try:
        analysis = Analysis(
            source=source, shape=shape, spec=spec, split=split, truth=truth, options=options, bench=bench
        )
        findings = analysis.run()
    finally:
        bench.clock.save()
    study = Study(
        command=command_line(network, options),
        network=source.path.name,
        network_sha256=source.sha256,
        tools={"tpu_mlir": tpu_mlir},
        batch=options.batch,
        calibration_images=len(split.calibration),
        tuning_images=len(split.tuning),
        scored_images=len(truth.image_ids),
        tuned=findings.tuned,
        ranking=findings.ranking,
        finalists=findings.finalists,
        verdict=judge(findings.finalists, tolerance=options.tolerance),
        minutes=round(bench.clock.spent_s / 60, 1),
    )
    write_report(study, options.report)
    return study


def command_line(network: Path, options: QuantizeOptions) -> str:
    """Return the command that makes these results; of the defaults, only the counts are spelled out."""
    words = ["raysail", "quantize", str(network), "--calibration", str(options.calibration)]
    words += ["--images", str(options.images), "--ground-truth", str(options.ground_truth)]
    words += ["--batch", str(options.batch), "--calibration-count", str(options.calibration_count)]
    words += ["--tuning-count", str(options.tuning_count)]
    words += ["--search-count", str(options.search_count), "--methods", ",".join(options.methods)]
    words += ["--finalists", str(options.finalists), "--tolerance", str(options.tolerance)]
    return shlex.join(words)
