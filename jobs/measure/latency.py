"""H: stage times, throughput and i_time of a run, from its committed rows.

i_time is the mean wall time of the device's `run` per image, ms, warm-up left out: the published meaning. A card's
is measured. Without a card it is what the compiler's schedule predicts, or nothing: a CPU's time is never a card's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec
from bmodel.validation import FrozenModel
from jobs.run.image_columns import ImageColumns
from tpu_worker.devices import CARD_DEVICES

ITimeSource = Literal["measured on BM1684", "predicted by the compiler's schedule", "none"]

# A percentile p of n samples is an interpolation between samples only if (1 - p) * n >= 1. In whole per cent: 1 - 0.9
# as a floating-point number is a little less than 0.1.
_PERCENTILES = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99}


class StageSummary(FrozenModel):
    """Wall time per image in one stage, ms; a percentile that the number of images cannot carry is null."""

    mean_ms: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None


class LatencyMetrics(FrozenModel):
    """i_time with its source, and the four stages; stages are null when no image went through."""

    i_time_ms: float | None
    i_time_source: ITimeSource
    stages: dict[str, StageSummary] | None


class ThroughputMetrics(FrozenModel):
    """Images per second: over the time in which images were under way, and between the tenth and the last tenth."""

    images_per_s: float | None
    steady_images_per_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """The times of the N images that went through, in the order of the run's list.

    stages: (N,) float64 ms per stage. started_ms, finished_ms: (N,) float64 since the run began.
    """

    stages: dict[str, NDArray[np.float64]]
    started_ms: NDArray[np.float64]
    finished_ms: NDArray[np.float64]


def timings_of(images: ImageColumns) -> Timings:
    """The times of the images with status ok."""
    ok = images.went_through()
    return Timings(stages=ok.stages, started_ms=ok.started_ms, finished_ms=ok.finished_ms)


def summarise_latency(timings: Timings, *, device: str, spec: ModelSpec) -> LatencyMetrics:
    """Latency of a run; device: the one whose times they are."""
    i_time_ms, source = _i_time(timings, device=device, spec=spec)
    has_images = len(timings.started_ms) > 0
    stages = {stage: _summary(values) for stage, values in timings.stages.items()} if has_images else None
    return LatencyMetrics(i_time_ms=i_time_ms, i_time_source=source, stages=stages)


def _i_time(timings: Timings, *, device: str, spec: ModelSpec) -> tuple[float | None, ITimeSource]:
    inference = timings.stages["inference"]
    if device in CARD_DEVICES and len(inference):
        return float(inference.mean()), "measured on BM1684"
    if device in {"cpu", "simulator"} and spec.latency is not None:
        return spec.predicted_image_ms, "predicted by the compiler's schedule"
    return None, "none"


def _summary(values: NDArray[np.float64]) -> StageSummary:
    return StageSummary(
        mean_ms=float(values.mean()),
        **{
            name: float(np.percentile(values, percent)) if (100 - percent) * len(values) >= 100 else None
            for name, percent in _PERCENTILES.items()
        },
    )


def summarise_throughput(timings: Timings) -> ThroughputMetrics:
    """Throughput of a run; needs two images that ended at different times.

    Only time with an image under way counts, so that the pause before a resumption is no slowness.
    """
    finished = np.sort(timings.finished_ms)
    count = len(finished)
    if count < 2 or finished[0] == finished[-1]:
        return ThroughputMetrics(images_per_s=None, steady_images_per_s=None)
    spans = busy_spans(timings)
    low, high = count // 10, count - 1 - count // 10
    steady_s = _busy_s(spans, finished[low], finished[high])
    return ThroughputMetrics(
        images_per_s=count / _busy_s(spans, -np.inf, np.inf),
        steady_images_per_s=(high - low) / steady_s if count >= 20 and steady_s > 0 else None,
    )


def busy_spans(timings: Timings) -> NDArray[np.float64]:
    """Merged spans [start, end) in ms in which an image was under way, (M, 2)."""
    order = np.argsort(timings.started_ms)
    started, finished = timings.started_ms[order], np.maximum.accumulate(timings.finished_ms[order])
    begins = np.concatenate([[True], started[1:] > finished[:-1]])
    ends = np.concatenate([begins[1:], [True]])
    return np.stack([started[begins], finished[ends]], axis=1)


def _busy_s(spans: NDArray[np.float64], start_ms: float, stop_ms: float) -> float:
    clipped = np.clip(spans, start_ms, stop_ms)
    return float((clipped[:, 1] - clipped[:, 0]).sum()) / 1000
