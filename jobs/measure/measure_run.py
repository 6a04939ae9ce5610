"""H: a finished run's rows → metrics.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from bmodel.sidecar import ModelSpec
from data.ground_truth import GroundTruth, read_ground_truth
from jobs.config.choices import Evaluator, ScoreProtocol
from jobs.inputs.resolve import ModelMetrics
from jobs.measure.card_health import CardHealthMetrics
from jobs.measure.latency import STAGES, read_timings, summarise_latency, summarise_throughput
from jobs.measure.mean_ap import MeanAp, evaluate
from jobs.measure.metrics import CardMetrics, ImageCounts, Metrics, PreparedMetrics, TimeSpent
from jobs.measure.score import score_of
from jobs.run.commit import CommitLog
from jobs.run.record import versions
from jobs.run.rows import scored_detections


def measure(
    log: CommitLog,
    *,
    spec: ModelSpec,
    device: str,
    times_of: str,
    model: ModelMetrics,
    ground_truth: Path | None,
    evaluator: Evaluator,
    score_protocol: ScoreProtocol,
    time: TimeSpent,
    accounts: Mapping[str, CardMetrics],
    health: tuple[CardHealthMetrics, ...] | None = None,
    prepared_by_card: bool = False,
) -> Metrics:
    """Compute every number of a run from its committed rows.

    times_of: the device whose times the rows hold. ground_truth: a COCO JSON or a folder of labels; mAP is null without one, and on the timed device, whose
    detections are made up. prepared_by_card: whether the card was to prepare the images, as far as it takes them.
    """
    timings = read_timings(log.tables("images"))
    latency = summarise_latency(timings, device=times_of, spec=spec)
    mean_ap = None
    if ground_truth is not None and device != "timed":
        mean_ap = mean_ap_of_run(log, spec=spec, ground_truth=ground_truth, evaluator=evaluator)
    return Metrics(
        device=device,
        images=_count_images(log.tables("images")),
        detections=sum(commit.parts["detections"].rows for commit in log.commits),
        map=mean_ap,
        latency=latency,
        throughput=summarise_throughput(timings),
        prepared=_count_prepared(log.tables("images")) if prepared_by_card else None,
        score=score_of(mean_ap, latency.i_time_ms, score_protocol),
        score_protocol=score_protocol,
        cards=_card_metrics(log.tables("images"), accounts),
        health=health,
        model=model,
        time=time,
        versions=versions(),
    )


def mean_ap_of_run(log: CommitLog, *, spec: ModelSpec, ground_truth: Path, evaluator: Evaluator) -> MeanAp:
    """The mAP of a run by all protocols; objects on failed images count as missed."""
    truth = truth_of_run(log, spec=spec, ground_truth=ground_truth)
    positions = {image_id: position for position, image_id in enumerate(truth.image_ids)}
    return evaluate(truth, scored_detections(log, positions), evaluator=evaluator)


def truth_of_run(log: CommitLog, *, spec: ModelSpec, ground_truth: Path) -> GroundTruth:
    """The truth of the run's images, its classes matched to the network's by name."""
    # A failed image has no size of its own. Its objects are missed at any size; the network's stands in.
    sizes = {
        image_id: (height, width) if height is not None else spec.input_hw
        for table in log.tables("images")
        for image_id, height, width in zip(
            *(table.column(name).to_pylist() for name in ("image_id", "height", "width")), strict=True
        )
    }
    return read_ground_truth(ground_truth, images=sizes, class_names=spec.class_names)


def _count_images(tables: Iterable[pa.Table]) -> ImageCounts:
    total = 0
    failures: Counter[str] = Counter()
    for table in tables:
        total += table.num_rows
        failures.update(stage for stage in table.column("stage").to_pylist() if stage is not None)
    failed = sum(failures.values())
    by_stage = {stage: failures[stage] for stage in STAGES if stage in failures}
    return ImageCounts(total=total, ok=total - failed, failed=failed, failures=by_stage)


def _count_prepared(tables: Iterable[pa.Table]) -> PreparedMetrics:
    places: Counter[str | None] = Counter()
    for table in tables:
        places.update(table.column("prepared_on").to_pylist())
    return PreparedMetrics(card=places["card"], host=places["host"])


def _card_metrics(tables: Iterable[pa.Table], accounts: Mapping[str, CardMetrics]) -> tuple[CardMetrics, ...]:
    images: Counter[str] = Counter()
    for table in tables:
        images.update(card for card in table.column("card").to_pylist() if card is not None)
    known = {card: accounts.get(card) or CardMetrics(card=card, images=0) for card in {*images, *accounts}}
    return tuple(known[card].model_copy(update={"images": images[card]}) for card in sorted(known))
