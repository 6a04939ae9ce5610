"""The chip's and the host's times on a page: stages with their distributions, and what the compiler's schedule predicts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bmodel.compiler.build import latency_path, read_latency
from bmodel.compiler.latency import LatencyReport
from bmodel.errors import ModelFileError
from bmodel.sidecar import ModelSpec
from jobs.measure.latency import LatencyMetrics, StageSummary
from jobs.report.charts import Chart, Mark, Shape, Tick, columns, ticks
from jobs.report.format import count, decimal, milliseconds, percent
from jobs.run.folder import RunFolder
from jobs.run.image_columns import ImageColumns
from tpu_worker.values import STAGES

# Images from which metrics.json has the percentile.
PERCENTILE_NEEDS: Final = {"p50": 2, "p90": 10, "p99": 100}


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePart:
    """A stage's part of the mean bar: where it starts and how wide it is, percent of the whole."""

    stage: str
    start: float
    width: float
    mean: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencySection:
    """The stages of one run; absent: the percentiles that the number of images cannot carry."""

    parts: tuple[StagePart, ...]
    stages: dict[str, StageSummary]
    absent: str
    histograms: tuple[Chart, ...]


def latency_section(latency: LatencyMetrics, images: ImageColumns) -> LatencySection | None:
    """The section, or nothing when no image went through; `images` are those that did."""
    if latency.stages is None:
        return None
    whole_ms = sum(summary.mean_ms for summary in latency.stages.values())
    absent = [
        f"{name} (needs {PERCENTILE_NEEDS[name]})"
        for name in PERCENTILE_NEEDS
        if any(getattr(summary, f"{name}_ms") is None for summary in latency.stages.values())
    ]
    return LatencySection(
        parts=stage_parts(latency.stages, whole_ms),
        stages=latency.stages,
        absent=f"{count(len(images.index))} images cannot carry {', '.join(absent)}." if absent else "",
        histograms=tuple(
            _histogram(stage, images.stages[stage], latency.stages[stage])
            for stage in STAGES
            if stage in latency.stages
        ),
    )


def stage_parts(stages: dict[str, StageSummary], whole_ms: float) -> tuple[StagePart, ...]:
    """The mean times of the stages one after another; whole_ms is what the full width stands for."""
    parts = []
    start = 0.0
    for stage, summary in stages.items():
        width = summary.mean_ms / whole_ms * 100 if whole_ms else 0.0
        parts.append(StagePart(stage=stage, start=start, width=width, mean=milliseconds(summary.mean_ms)))
        start += width
    return tuple(parts)


def _histogram(stage: str, values: NDArray[np.float64], summary: StageSummary) -> Chart:
    high = _end_of_axis(values, summary)
    bins = int(np.clip(np.sqrt(len(values)) * 2, 12, 60))
    edges = np.linspace(0, high, bins + 1)
    number, _ = np.histogram(values, edges)
    beyond = len(values) - int(number.sum())
    tallest = max(1, int(number.max()))
    marks = [
        Mark(x=value / high, label=name)
        for name, value in (("p50", summary.p50_ms), ("p90", summary.p90_ms), ("p99", summary.p99_ms))
        if value is not None and value <= high
    ]
    note = f"mean {milliseconds(summary.mean_ms)}"
    if beyond:
        note += f"; {count(beyond)} beyond the axis, the slowest {milliseconds(float(values.max()))}"
    return Chart(
        title=stage.capitalize(),
        note=note,
        x_label="ms per image",
        x_ticks=ticks(0, high, most=4),
        y_ticks=ticks(0, tallest * 1.05, most=3),
        shapes=(Shape(path=columns(edges / high, number / (tallest * 1.05)), css=f"bars stage-{stage}"),),
        marks=tuple(marks),
    )


def _end_of_axis(values: NDArray[np.float64], summary: StageSummary) -> float:
    """The slowest image, unless a few would squeeze all the others into a corner."""
    slowest = float(values.max())
    usual = summary.p99_ms or summary.p90_ms
    end = slowest if usual is None else min(slowest, usual * 1.5)
    return end * 1.02 or 1.0


LAYERS = 10
LONGEST_NAME = 44


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerBar:
    """A layer of the network: its name, its bar in percent of the dearest one's, its time and share in words."""

    name: str
    width: float
    label: str
    is_rest: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulePicture:
    """What the compiler's schedule says of an image, in percent of the axis.

    raw, corrected: its own figure, and the corrected one. low, high: one standard deviation around the latter.
    layers: the dearest, where the build's latency report lies beside the model; summary: what limits the chip.
    """

    raw: float
    corrected: float
    low: float
    high: float
    ticks: tuple[Tick, ...]
    raw_label: str
    corrected_label: str
    note: str
    host: str
    layers: tuple[LayerBar, ...]
    summary: str


def schedule_picture(run: RunFolder, spec: ModelSpec, latency: LatencyMetrics) -> SchedulePicture | None:
    """The picture of the prediction an image, where the sidecar carries one."""
    if spec.latency is None:
        return None
    predicted = spec.latency
    raw, corrected = predicted.raw_ms / spec.batch, predicted.corrected_ms / spec.batch
    sigma = predicted.uncertainty_ms / spec.batch
    end = (corrected + sigma) * 1.15
    host_ms = None
    if latency.stages is not None:
        host_ms = sum(summary.mean_ms for name, summary in latency.stages.items() if name != "inference")
    report = _build_report(run, spec)
    return SchedulePicture(
        raw=raw / end * 100,
        corrected=corrected / end * 100,
        low=max(0.0, corrected - sigma) / end * 100,
        high=(corrected + sigma) / end * 100,
        ticks=ticks(0, end, most=5),
        raw_label=milliseconds(raw),
        corrected_label=f"{milliseconds(corrected)} ± {milliseconds(sigma)}",
        note=predicted.note,
        host="" if host_ms is None else milliseconds(host_ms),
        layers=() if report is None else layer_bars(report),
        summary="" if report is None else _limits(report),
    )


def _build_report(run: RunFolder, spec: ModelSpec) -> LatencyReport | None:
    """The build's latency report beside the model, if it is there and speaks of the same schedule."""
    model = run.record.configuration.get("model")
    if model is None or spec.latency is None:
        return None
    try:
        report = read_latency(latency_path(Path(model)))
    except ModelFileError:
        return None
    return report if report.prediction.raw_ms == spec.latency.raw_ms else None


def layer_bars(report: LatencyReport) -> tuple[LayerBar, ...]:
    """The dearest layers, and all the others together; ms per launch by the schedule, uncorrected."""
    dearest, others = report.layers[:LAYERS], report.layers[LAYERS:]
    if not dearest:
        return ()
    total_ms, longest = report.prediction.raw_ms, dearest[0].share or 1.0

    def label(share: float) -> str:
        return f"{milliseconds(share * total_ms)}, {percent(share)}"

    bars = [
        LayerBar(
            name=_short(layer.name, layer.kind), width=layer.share / longest * 100, label=label(layer.share)
        )
        for layer in dearest
    ]
    if others:
        share = sum(layer.share for layer in others)
        width = min(100.0, share / longest * 100)
        bars.append(
            LayerBar(name=f"{len(others)} other layers", width=width, label=label(share), is_rest=True)
        )
    return tuple(bars)


def _short(name: str, kind: str) -> str:
    shown = name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"
    return f"{shown} ({kind})" if kind else shown


def _limits(report: LatencyReport) -> str:
    engines, roofline = report.engines, report.roofline
    return (
        f"The compute engine works {percent(engines.compute)} of the time, transfers alone take "
        f"{percent(engines.transfer_alone)}. The network computes {decimal(roofline.intensity)} operations per byte, "
        f"and {decimal(roofline.ridge)} would balance the chip's two limits: {roofline.bound} is the limit here; "
        f"{decimal(roofline.attained_flops_per_s / 1e9)} of {decimal(roofline.limit_flops_per_s / 1e9)} GFLOP/s are "
        "reached."
    )
