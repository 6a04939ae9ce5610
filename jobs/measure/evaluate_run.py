"""Evaluation: what scoring a run, or anybody's detection files, came to."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from bmodel.errors import ConfigurationError
from bmodel.validation import FrozenModel
from jobs.config.choices import Evaluator, ScoreProtocol
from jobs.measure.mean_ap import evaluate
from jobs.measure.mean_ap_values import MeanAp
from jobs.measure.measure_run import truth_of_run
from jobs.measure.metrics import Metrics, read_metrics, write_metrics
from jobs.measure.score import score_of
from jobs.run.folder import SUCCESS, RunFolder, open_run
from jobs.run.rows import scored_detections


class Evaluation(FrozenModel):
    """What an evaluation found, as `--json` prints it."""

    images: int = Field(description="images that were scored")
    objects: int = Field(description="objects of the truth on them, crowds left out")
    detections: int
    map: MeanAp
    i_time_ms: float | None = Field(description="mean inference time an image; null where nobody tells one")
    i_time_source: str
    score: float | None = Field(description="mAP * 100 + (1000 - i_time) * 0.1; null without i_time")
    score_protocol: ScoreProtocol


def evaluation_of(
    mean_ap: MeanAp,
    *,
    images: int,
    detections: int,
    i_time_ms: float | None,
    i_time_source: str,
    score_protocol: ScoreProtocol,
) -> Evaluation:
    """Put the score to the figures it is made of."""
    return Evaluation(
        images=images,
        objects=sum(entry.objects for entry in mean_ap.voc.per_class.values()),
        detections=detections,
        map=mean_ap,
        i_time_ms=i_time_ms,
        i_time_source=i_time_source,
        score=score_of(mean_ap, i_time_ms, score_protocol),
        score_protocol=score_protocol,
    )


def evaluate_run(
    place: str,
    *,
    ground_truth: Path | None = None,
    evaluator: Evaluator | None = None,
    score_protocol: ScoreProtocol | None = None,
) -> Evaluation:
    """Compute a run's mAP and score from its Parquet files, and put them into its metrics.json.

    Its report follows from that file: whoever calls this writes it again.

    What is not given is what the run was started with. Latency is what was measured then. Raises
    ConfigurationError for a run without truth, unfinished or of made-up detections.
    """
    run = open_run(place)
    metrics = _metrics(run)
    if metrics.device == "timed":
        raise ConfigurationError(
            f"RUN: the timed device's detections are made up and have no mAP, in '{place}'"
        )
    truth = truth_of_run(run.log, spec=run.record.spec, ground_truth=_ground_truth(run, ground_truth))
    positions = {image_id: position for position, image_id in enumerate(truth.image_ids)}
    detections = scored_detections(run.log, positions)
    mean_ap = evaluate(
        truth, detections, evaluator=evaluator or run.record.configuration.get("evaluator", "hotcoco")
    )
    result = evaluation_of(
        mean_ap,
        images=len(truth.image_ids),
        detections=len(detections),
        i_time_ms=metrics.latency.i_time_ms,
        i_time_source=metrics.latency.i_time_source,
        score_protocol=score_protocol or metrics.score_protocol,
    )
    changes = {"map": mean_ap, "score": result.score, "score_protocol": result.score_protocol}
    updated = metrics.model_copy(update=changes)
    write_metrics(run, updated)
    return result


def _metrics(run: RunFolder) -> Metrics:
    if SUCCESS not in run.store.names(""):
        raise ConfigurationError(
            f"RUN: must be finished (go on with it by --resume), and '{run.store.place}' is not"
        )
    return read_metrics(run)


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
