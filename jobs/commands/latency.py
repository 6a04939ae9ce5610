"""`raysail latency`: how long the chip takes for a compiled network, and where the time goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from bmodel.compiler.build import OPERATIONS, SCHEDULE, latency_path, read_build, read_latency
from bmodel.compiler.latency import LatencyReport, analyse
from bmodel.compiler.layers import read_layer_names
from bmodel.compiler.schedule import read_schedule
from bmodel.errors import ConfigurationError, ModelFileError
from bmodel.sidecar import (
    MODEL_SUFFIXES,
    SIDECAR_SUFFIX,
    ModelSpec,
    model_path_of,
    read_sidecar,
    sidecar_path,
)

DEAREST: Final = 10


def command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SIDECAR|BUILD|_0.dat", help="a sidecar or build of `raysail compile`, or its schedule"
        ),
    ],
    *,
    layers: Annotated[
        int, typer.Option(metavar="N", help="how many of the costliest layers to list")
    ] = DEAREST,
) -> None:
    """Print the chip's predicted time for a launch: total, by engine, by function and by layer."""
    spec, report = load(source)
    if report is None:
        for line in describe_sidecar(spec, source):
            typer.echo(line)
        return
    for line in describe(report, batch=spec.batch if spec else None, layers=layers):
        typer.echo(line)


def load(source: Path) -> tuple[ModelSpec | None, LatencyReport | None]:
    """Load a sidecar, a build's folder or a schedule; raises ConfigurationError for anything else."""
    if not source.exists():
        raise ConfigurationError(f"'{source}' does not exist")
    if source.is_dir():
        build = read_build(source)
        sidecar = sidecar_path(build.bmodel)
        return read_sidecar(sidecar) if sidecar.is_file() else None, build.latency()
    if source.name.endswith(SIDECAR_SUFFIX):
        return _load_sidecar(source)
    if source.suffix.lower() in MODEL_SUFFIXES:
        raise ConfigurationError(
            f"'{source}' does not state its time: the schedule exists only during compilation; name its sidecar, "
            f"its build's folder, or the {SCHEDULE} in there"
        )
    names = source.parent / OPERATIONS
    return None, analyse(read_schedule(source), read_layer_names(names) if names.is_file() else None)


def _load_sidecar(path: Path) -> tuple[ModelSpec, LatencyReport | None]:
    """Load a sidecar with the report beside it, if there is one of the same compilation."""
    spec = read_sidecar(path)
    beside = latency_path(model_path_of(path))
    if not beside.is_file():
        return spec, None
    report = read_latency(beside)
    if report.prediction != spec.latency:
        raise ModelFileError(f"'{beside}' is from a different compilation than '{path}'")
    return spec, report


def describe(report: LatencyReport, *, batch: int | None, layers: int) -> list[str]:
    """Describe a report as lines."""
    prediction, engines, roofline = report.prediction, report.engines, report.roofline
    lines = [
        (
            f"a launch takes {_pm(prediction.corrected_ms, prediction.uncertainty_ms)} ms on BM1684 ({report.precision}), "
            "predicted by the compiler's schedule"
        ),
        f"the schedule itself says {prediction.raw_ms:.4g} ms; {prediction.note}",
    ]
    if batch is not None and batch > 1:
        image = _pm(prediction.corrected_ms / batch, prediction.uncertainty_ms / batch)
        lines.append(f"per image of its {batch}: {image} ms")
    lines += [
        (
            f"engines: computing {engines.compute:.1%}, moving data {engines.transfer:.1%} ({engines.transfer_alone:.1%} "
            f"of the time nothing else), idle {engines.idle:.1%}"
        ),
        "functions: " + ", ".join(f"{name} {value:.3g} ms" for name, value in report.functions_ms.items()),
        (
            f"roofline: {roofline.intensity:.0f} operations per byte (limits meet at {roofline.ridge:.0f}), bound by "
            f"{roofline.bound}; {roofline.attained_flops_per_s / 1e12:.3g} of {roofline.limit_flops_per_s / 1e12:.3g} "
            "TFLOP/s"
        ),
        "",
        f"the {min(layers, len(report.layers))} costliest of {len(report.layers)} layers (uncorrected):",
        f"{'share':>6}  {'compute':>10}  {'transfer':>10}  kind        layer",
    ]
    return lines + [
        f"{layer.share:6.1%}  {layer.compute_ms:7.3f} ms  {layer.transfer_ms:7.3f} ms  {layer.kind:<10}  {layer.name}"
        for layer in report.layers[:layers]
    ]


def describe_sidecar(spec: ModelSpec | None, source: Path) -> list[str]:
    """Describe what a sidecar alone has: the totals."""
    if spec is None or spec.latency is None:
        raise ConfigurationError(
            f"the sidecar '{source}' has no prediction: compile the network with 'raysail compile'"
        )
    latency = spec.latency
    image = _pm(latency.corrected_ms / spec.batch, latency.uncertainty_ms / spec.batch)
    return [
        (
            f"a launch takes {_pm(latency.corrected_ms, latency.uncertainty_ms)} ms on BM1684 ({spec.precision}), "
            f"predicted by the compiler's schedule; per image of its {spec.batch}: {image} ms"
        ),
        f"the schedule itself says {latency.raw_ms:.4g} ms; {latency.note}",
        "by layer: see the folder it was compiled in",
    ]


def _pm(value: float, deviation: float) -> str:
    return f"{value:.4g} ± {deviation:.2g}"
