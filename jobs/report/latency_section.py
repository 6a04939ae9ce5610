"""How long images took in each stage: the shares of the mean, and the distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jobs.measure.latency import STAGES, LatencyMetrics, StageSummary
from jobs.report.charts import Chart, Mark, Shape, columns, ticks
from jobs.report.format import count, decimal, milliseconds
from jobs.report.image_columns import ImageColumns

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
class StageRow:
    """A stage's line of the table."""

    stage: str
    mean: str
    p50: str
    p90: str
    p99: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencySection:
    """The stages of one run; absent: the percentiles that the number of images cannot carry."""

    parts: tuple[StagePart, ...]
    rows: tuple[StageRow, ...]
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
        rows=tuple(_row(stage, summary) for stage, summary in latency.stages.items()),
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


def _row(stage: str, summary: StageSummary) -> StageRow:
    return StageRow(
        stage=stage,
        mean=decimal(summary.mean_ms),
        p50=decimal(summary.p50_ms),
        p90=decimal(summary.p90_ms),
        p99=decimal(summary.p99_ms),
    )


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
        x_label="ms an image",
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
