"""What the compiler's schedule says of the chip's time: its prediction, and the layers that cost most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bmodel.compiler.build import latency_path, read_latency
from bmodel.compiler.latency import LatencyReport
from bmodel.errors import ModelFileError
from bmodel.sidecar import ModelSpec
from jobs.measure.latency import LatencyMetrics
from jobs.report.charts import Tick, ticks
from jobs.report.format import decimal, milliseconds, percent
from jobs.run.folder import RunFolder

LAYERS = 10
LONGEST_NAME = 44


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerBar:
    """A layer of the network: its name, its bar in percent of the dearest one's, its time and share in words."""

    name: str
    width: float
    told: str
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
    raw_told: str
    corrected_told: str
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
        raw_told=milliseconds(raw),
        corrected_told=f"{milliseconds(corrected)} ± {milliseconds(sigma)}",
        note=predicted.note,
        host="" if host_ms is None else milliseconds(host_ms),
        layers=() if report is None else layer_bars(report),
        summary="" if report is None else _summary(report),
    )


def _build_report(run: RunFolder, spec: ModelSpec) -> LatencyReport | None:
    """The build's latency report beside the model, if it is there and speaks of the same schedule."""
    model = run.facts["configuration"].get("model")
    if model is None or spec.latency is None:
        return None
    try:
        report = read_latency(latency_path(Path(model)))
    except ModelFileError:
        return None
    return report if report.prediction.raw_ms == spec.latency.raw_ms else None


def layer_bars(report: LatencyReport) -> tuple[LayerBar, ...]:
    """The dearest layers, and all the others together; ms a launch by the schedule, uncorrected."""
    dearest, others = report.layers[:LAYERS], report.layers[LAYERS:]
    if not dearest:
        return ()
    total_ms, longest = report.prediction.raw_ms, dearest[0].share or 1.0

    def told(share: float) -> str:
        return f"{milliseconds(share * total_ms)}, {percent(share)}"

    bars = [
        LayerBar(
            name=_short(layer.name, layer.kind), width=layer.share / longest * 100, told=told(layer.share)
        )
        for layer in dearest
    ]
    if others:
        share = sum(layer.share for layer in others)
        width = min(100.0, share / longest * 100)
        bars.append(LayerBar(name=f"{len(others)} other layers", width=width, told=told(share), is_rest=True))
    return tuple(bars)


def _short(name: str, kind: str) -> str:
    shown = name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"
    return f"{shown} ({kind})" if kind else shown


def _summary(report: LatencyReport) -> str:
    engines, roofline = report.engines, report.roofline
    return (
        f"The compute engine works {percent(engines.compute)} of the time, transfers alone take "
        f"{percent(engines.transfer_alone)}. The network computes {decimal(roofline.intensity)} operations a byte, "
        f"and {decimal(roofline.ridge)} would balance the chip's two limits: {roofline.bound} is the limit here; "
        f"{decimal(roofline.attained_flops_per_s / 1e9)} of {decimal(roofline.limit_flops_per_s / 1e9)} GFLOP/s are "
        "reached."
    )
