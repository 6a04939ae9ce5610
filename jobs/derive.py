"""H: one pass over a run's committed rows → label files, metrics.json, annotated images, report, and the mark of completion.

`derive` does it when the last shard is committed, `evaluate_run` once more with the truth of the day.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from bmodel.errors import ConfigurationError
from cluster.pool.work import SlotState
from data.columns import GroundTruth
from jobs.config.choices import DEFAULT_EVALUATOR, Evaluator, ScoreProtocol
from jobs.config.detect_config import DetectConfig
from jobs.inputs.resolve import ResolvedJob
from jobs.measure.card_health import summarise_health
from jobs.measure.evaluation import Evaluation, evaluation_of
from jobs.measure.mean_ap import evaluate
from jobs.measure.metrics import Metrics, TimeSpent, card_accounts, measure, read_metrics, write_metrics
from jobs.measure.one_pass import RunRows, read_rows, read_truth
from jobs.report.judged_run import judge_run
from jobs.report.page import write_report
from jobs.report.pictures import save_images
from jobs.run.folder import SUCCESS, RunFolder, finish_run, open_run
from jobs.run.image_columns import RunImages, read_images
from jobs.run.labels import LabelFiles


def derive(
    config: DetectConfig, job: ResolvedJob, run: RunFolder, slots: Sequence[SlotState], *, detect_s: float
) -> Metrics:
    """Verify that every image is committed once, write what follows from the rows, and mark the run as complete.

    Each part file is opened once, the truth is read and matched once. slots: what became of each card slot in this
    driver's part of the run. detect_s: how long that took. Raises RunError, and FormatError for a damaged truth.
    """
    run.log.verify_coverage(run.image_count)
    began = time.monotonic()
    rows = _one_pass(config, job, run)
    metrics = measure(
        rows,
        mean_ap=rows.mean_ap(config.evaluator),
        spec=job.spec,
        device=job.device.name,
        times_of=run.record.timing_device,
        model=job.ran,
        score_protocol=config.score_protocol,
        time=TimeSpent(detect_s=detect_s, write_s=time.monotonic() - began),
        accounts=card_accounts(slots),
        health=summarise_health(run.store),
        prepared_by_card=job.device.preprocess == "bmcv",
    )
    write_metrics(run, metrics)
    judged = judge_run(run, rows)
    if config.save_images:
        save_images(run, config.save_images, judged)
    write_report(run, judged)
    finish_run(run)
    return metrics


def _one_pass(config: DetectConfig, job: ResolvedJob, run: RunFolder) -> RunRows:
    """Read every part, and write the label files meanwhile."""
    images = read_images(run.log.tables("images"))
    return read_rows(
        run.log,
        images,
        _truth(config, job, images),
        _label_files(config, job, run, images),
        made_up=job.device.name == "timed",
    )


def _truth(config: DetectConfig, job: ResolvedJob, images: RunImages) -> GroundTruth | None:
    """The truth; None without one, and on the timed device, whose detections are made up."""
    if config.ground_truth is None or job.device.name == "timed":
        return None
    return read_truth(Path(config.ground_truth), images, job.spec)


def _label_files(
    config: DetectConfig, job: ResolvedJob, run: RunFolder, images: RunImages
) -> list[LabelFiles]:
    if config.label_format == "none":
        return []
    return [
        LabelFiles(
            run.store,
            images,
            label_format=config.label_format,
            spec=job.spec,
            device=run.record.timing_device,
        )
    ]


def exit_code(metrics: Metrics, max_failed: int | None) -> int:
    """3 when more images failed than allowed, else 0; without a limit, 3 when all of them failed."""
    allowed = metrics.images.total - 1 if max_failed is None else max_failed
    return 3 if metrics.images.failed > allowed else 0


def evaluate_run(
    place: str,
    *,
    ground_truth: Path | None = None,
    evaluator: Evaluator | None = None,
    score_protocol: ScoreProtocol | None = None,
) -> Evaluation:
    """Compute a run's mAP and score from its Parquet files, and put them into its metrics.json and report.html.

    What is not given is what the run was started with. Latency is what was measured then. Raises
    ConfigurationError for a run without truth, unfinished or of made-up detections, RunError for a damaged one,
    FormatError for a damaged truth.
    """
    run = open_run(place)
    metrics = _metrics(run)
    truth_place = _ground_truth(run, ground_truth)
    images = read_images(run.log.tables("images"))
    truth = read_truth(truth_place, images, run.record.spec)
    rows = read_rows(run.log, images, truth)
    chosen = evaluator or run.record.configuration.get("evaluator", DEFAULT_EVALUATOR)
    mean_ap = evaluate(truth, rows.scored, evaluator=chosen, matches=rows.matches)
    result = evaluation_of(
        mean_ap,
        images=len(truth.image_ids),
        detections=len(rows.scored),
        i_time_ms=metrics.latency.i_time_ms,
        i_time_source=metrics.latency.i_time_source,
        score_protocol=score_protocol or metrics.score_protocol,
    )
    changes = {"map": mean_ap, "score": result.score, "score_protocol": result.score_protocol}
    write_metrics(run, metrics.model_copy(update=changes))
    write_report(run, judge_run(run, rows))
    return result


def _metrics(run: RunFolder) -> Metrics:
    """The figures of a run that can be scored."""
    if SUCCESS not in run.store.names(""):
        raise ConfigurationError(
            f"RUN: must be finished (continue it with --resume), and '{run.store.place}' is not"
        )
    metrics = read_metrics(run)
    if metrics.device == "timed":
        raise ConfigurationError(
            f"RUN: the timed device's detections are made up and have no mAP, in '{run.store.place}'"
        )
    return metrics


def _ground_truth(run: RunFolder, given: Path | None) -> Path:
    if given is not None:
        return given
    known = run.record.ground_truth
    if known is None:
        raise ConfigurationError("--ground-truth: is required, since the run was started without one")
    if not Path(known).exists():
        raise ConfigurationError(
            f"--ground-truth: is required, since the run's own is not there any more: '{known}'"
        )
    return Path(known)
