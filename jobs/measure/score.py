"""The competition's score: accuracy and speed in one number."""

from __future__ import annotations

import math

from jobs.config.choices import ScoreProtocol
from jobs.measure.mean_ap_values import MeanAp


def competition_score(mean_ap50: float, i_time_ms: float) -> float:
    """MAP·100 + (1000 − i_time)·0.1: a percent of mAP is worth ten milliseconds.

    mean_ap50: at IoU 0.5, a fraction. i_time_ms: mean inference time per image. Nothing caps the score: above
    1000 ms the time's part is negative. Raises ValueError for a fraction outside 0..1 or a time below 0.
    """
    if not 0 <= mean_ap50 <= 1:
        raise ValueError(f"mAP must be a fraction from 0 to 1, got {mean_ap50}")
    if not (math.isfinite(i_time_ms) and i_time_ms >= 0):
        raise ValueError(f"i_time_ms must be a finite time, not negative, got {i_time_ms}")
    return mean_ap50 * 100 + (1000 - i_time_ms) * 0.1


def map50_of(mean_ap: MeanAp | None, protocol: ScoreProtocol) -> float | None:
    """MAP at IoU 0.5 by one protocol, a fraction; None without truth or objects."""
    if mean_ap is None:
        return None
    return {"voc": mean_ap.voc.ap50, "yolo": mean_ap.yolo.ap50, "coco": mean_ap.coco.ap50}[protocol]


def score_of(mean_ap: MeanAp | None, i_time_ms: float | None, protocol: ScoreProtocol) -> float | None:
    """The score by one protocol's mAP at IoU 0.5; None where mAP or i_time is unknown."""
    mean_ap50 = map50_of(mean_ap, protocol)
    if mean_ap50 is None or i_time_ms is None:
        return None
    return competition_score(mean_ap50, i_time_ms)
