"""Evaluation: the figures of a run, or of anybody's detection files."""

from __future__ import annotations

from pydantic import Field

from bmodel.validation import FrozenModel
from jobs.config.choices import ScoreProtocol
from jobs.measure.mean_ap_values import MeanAp
from jobs.measure.score import score_of


class Evaluation(FrozenModel):
    """What an evaluation found, as `--json` prints it."""

    images: int = Field(description="images that were scored")
    objects: int = Field(description="objects of the truth on them, crowds left out")
    detections: int
    map: MeanAp
    i_time_ms: float | None = Field(description="mean inference time per image; null where it is unknown")
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
