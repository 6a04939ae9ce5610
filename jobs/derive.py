"""H: what follows from a run's committed rows: label files, metrics.json, and the mark of a complete run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from cluster.pool.work import SlotState
from jobs.config.detect_config import DetectConfig
from jobs.inputs.resolve import ResolvedJob
from jobs.measure.card_health import summarise_health
from jobs.measure.measure_run import measure
from jobs.measure.metrics import Metrics, TimeSpent, card_accounts, write_metrics
from jobs.report.page import write_report
from jobs.report.save_images import save_images
from jobs.run.folder import RunFolder, finish_run
from jobs.run.labels import write_labels


def derive(
    config: DetectConfig, job: ResolvedJob, run: RunFolder, slots: Sequence[SlotState], *, detect_s: float
) -> Metrics:
    """Verify that every image is committed once, write what follows from the rows, and mark the run as complete.

    slots: what became of each card slot in this driver's part of the run. detect_s: how long that took.
    """
    run.log.verify_coverage(run.image_count)
    began = time.monotonic()
    if config.label_format != "none":
        write_labels(
            run.log,
            run.store,
            label_format=config.label_format,
            spec=job.spec,
            device=run.record.timing_device,
        )
    metrics = measure(
        run.log,
        spec=job.spec,
        device=job.device.name,
        times_of=run.record.timing_device,
        model=job.ran,
        ground_truth=Path(config.ground_truth) if config.ground_truth else None,
        evaluator=config.evaluator,
        score_protocol=config.score_protocol,
        time=TimeSpent(detect_s=detect_s, write_s=time.monotonic() - began),
        accounts=card_accounts(slots),
        health=summarise_health(run.store),
        prepared_by_card=job.device.preprocess == "bmcv",
    )
    write_metrics(run, metrics)
    if config.save_images:
        save_images(run, config.save_images)
    write_report(run)
    finish_run(run)
    return metrics


def exit_code(metrics: Metrics, max_failed: int | None) -> int:
    """3 when more images failed than allowed, else 0; without a limit, 3 when all of them failed."""
    allowed = metrics.images.total - 1 if max_failed is None else max_failed
    return 3 if metrics.images.failed > allowed else 0
