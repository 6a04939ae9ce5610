"""What Ray's metrics show of a job while it runs: the table of all of them, and the workers' part.

Every metric has a tag `card`, host/number as in the tables. Ray puts `ray_` in front of each name, and `_total` behind
a counter's; a worker that is started again counts from zero under another `WorkerId`, so add up by card.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow.compute as pc

from cluster.pool.results import ShardResult
from tpu_worker.values import STAGES

# From a small network's launch to a large one's on the chip simulator.
STAGE_BOUNDARIES_MS: Final = (1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 500, 1000, 5000, 60_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveMetric:
    """A metric as it is registered; tags are its labels."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    description: str
    tags: tuple[str, ...] = ("card",)

    @property
    def exported(self) -> tuple[str, ...]:
        """The series that Prometheus finds."""
        name = f"ray_{self.name}"
        if self.kind == "counter":
            return (f"{name}_total",)
        if self.kind == "histogram":
            return tuple(f"{name}_{part}" for part in ("bucket", "count", "sum"))
        return (name,)


IMAGES: Final = LiveMetric(
    name="raysail_images",
    kind="counter",
    description="Images that a card has processed, by outcome: ok or failed",
    tags=("card", "status"),
)
DETECTIONS: Final = LiveMetric(
    name="raysail_detections", kind="counter", description="Detections on the images processed"
)
SHARD_ERRORS: Final = LiveMetric(
    name="raysail_shard_errors", kind="counter", description="Shards that a worker ended with an error"
)
WORKER_STARTS: Final = LiveMetric(
    name="raysail_worker_starts",
    kind="counter",
    description="Workers that loaded their network on a card: one, and one more after each failure",
)
# Ray sends a histogram's buckets alone: its `_sum` is computed from their midpoints, so the exact sum is a counter of its own.
STAGE_SPENT_MS: Final = LiveMetric(
    name="raysail_stage_spent_ms",
    kind="counter",
    description="Wall time that images spent in each stage, ms; inference is how long the device ran",
    tags=("card", "stage"),
)
STAGE_MS: Final = LiveMetric(
    name="raysail_stage_ms",
    kind="histogram",
    description="Wall time per image in each stage, ms; inference is the device's share of an image",
    tags=("card", "stage"),
)
# Named after CardHealth's fields.
HEALTH: Final = {
    name: LiveMetric(name=f"raysail_card_{name}", kind="gauge", description=description)
    for name, description in (
        ("chip_temperature_c", "Temperature of the chip"),
        ("board_temperature_c", "Temperature of the board"),
        ("memory_used_mb", "Memory in use on the card"),
        ("utilisation_percent", "Utilisation of the tensor processor"),
    )
}
ALL: Final = (IMAGES, DETECTIONS, SHARD_ERRORS, WORKER_STARTS, STAGE_SPENT_MS, STAGE_MS, *HEALTH.values())


def register(metric: LiveMetric) -> Any:
    """Ray's object for a metric; in a process that is part of a cluster."""
    from ray.util.metrics import Counter, Gauge, Histogram

    if metric.kind == "histogram":
        return Histogram(
            metric.name,
            description=metric.description,
            boundaries=[float(bound) for bound in STAGE_BOUNDARIES_MS],
            tag_keys=metric.tags,
        )
    kind = Counter if metric.kind == "counter" else Gauge
    return kind(metric.name, description=metric.description, tag_keys=metric.tags)


class WorkerMetrics:
    """Counts what one worker does with its card."""

    def __init__(self, card: str) -> None:
        """Register, and count the start."""
        self._card = {"card": card}
        self._images = register(IMAGES)
        self._detections = register(DETECTIONS)
        self._errors = register(SHARD_ERRORS)
        self._spent_ms = register(STAGE_SPENT_MS)
        self._stage_ms = register(STAGE_MS)
        register(WORKER_STARTS).inc(1, tags=self._card)

    def count(self, result: ShardResult) -> None:
        """Take a shard's rows into account."""
        failed = result.failed_count
        for status, number in (("failed", failed), ("ok", int(result.images.num_rows) - failed)):
            if number:  # Ray's counters refuse to be increased by nothing
                self._images.inc(number, tags={**self._card, "status": status})
        if result.detections.num_rows:
            self._detections.inc(int(result.detections.num_rows), tags=self._card)
        went_through = result.images.filter(pc.equal(result.images.column("status"), "ok"))
        for stage in STAGES:
            tags = {**self._card, "stage": stage}
            values = went_through.column(f"{stage}_ms").to_pylist()
            if (spent_ms := sum(values)) > 0:
                self._spent_ms.inc(spent_ms, tags=tags)
            for value in values:
                self._stage_ms.observe(value, tags=tags)

    def refused(self) -> None:
        """Count a shard that ended with an error which the worker survived."""
        self._errors.inc(1, tags=self._card)
