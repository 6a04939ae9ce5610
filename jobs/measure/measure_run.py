"""H: a finished run's rows → metrics.json."""

from __future__ import annotations

from collections.abc import Mapping

from bmodel.sidecar import ModelSpec
from jobs.config.choices import ScoreProtocol
from jobs.inputs.resolve import ModelMetrics
from jobs.measure.card_health import CardHealthMetrics
from jobs.measure.latency import summarise_latency, summarise_throughput, timings_of
from jobs.measure.mean_ap_values import MeanAp
from jobs.measure.metrics import CardMetrics, ImageCounts, Metrics, PreparedMetrics, TimeSpent
from jobs.measure.one_pass import RunRows
from jobs.measure.score import score_of
from jobs.run.image_columns import RunImages
from jobs.run.record import versions


def measure(
    rows: RunRows,
    *,
    mean_ap: MeanAp | None,
    spec: ModelSpec,
    device: str,
    times_of: str,
    model: ModelMetrics,
    score_protocol: ScoreProtocol,
    time: TimeSpent,
    accounts: Mapping[str, CardMetrics],
    health: tuple[CardHealthMetrics, ...] | None = None,
    prepared_by_card: bool = False,
) -> Metrics:
    """Put together every number of a run.

    times_of: the device whose times the rows hold. accounts: what the pool knows of each card.
    prepared_by_card: whether the card was to prepare the images, as far as it accepts them.
    """
    timings = timings_of(rows.images.columns)
    latency = summarise_latency(timings, device=times_of, spec=spec)
    return Metrics(
        device=device,
        images=_image_counts(rows.images),
        detections=rows.detection_count,
        map=mean_ap,
        latency=latency,
        throughput=summarise_throughput(timings),
        prepared=_prepared(rows.images) if prepared_by_card else None,
        score=score_of(mean_ap, latency.i_time_ms, score_protocol),
        score_protocol=score_protocol,
        cards=_card_metrics(rows.images.per_card(), accounts),
        health=health,
        model=model,
        time=time,
        versions=versions(),
    )


def _image_counts(images: RunImages) -> ImageCounts:
    failed = images.columns.failed_count
    return ImageCounts(
        total=len(images), ok=len(images) - failed, failed=failed, failures=dict(images.failures)
    )


def _prepared(images: RunImages) -> PreparedMetrics:
    return PreparedMetrics(card=images.prepared.get("card", 0), host=images.prepared.get("host", 0))


def _card_metrics(images: Mapping[str, int], accounts: Mapping[str, CardMetrics]) -> tuple[CardMetrics, ...]:
    known = {card: accounts.get(card) or CardMetrics(card=card, images=0) for card in {*images, *accounts}}
    return tuple(known[card].model_copy(update={"images": images.get(card, 0)}) for card in sorted(known))
