"""H: detections and truth → mAP by three protocols.

The three answer different questions. COCO's ranks detectors in the literature; the YOLO authors' is the one of
their own tables; the competition's decides its score.
"""

from __future__ import annotations

from collections import Counter

from data.ground_truth import GroundTruth, Scored
from jobs.config.choices import DEFAULT_EVALUATOR, Evaluator
from jobs.measure.coco import coco_ap
from jobs.measure.match import Matches
from jobs.measure.mean_ap_values import MeanAp
from jobs.measure.voc import voc_ap
from jobs.measure.yolo import yolo_ap

__all__ = ["GroundTruth", "MeanAp", "Scored", "evaluate"]


def evaluate(
    truth: GroundTruth,
    detections: Scored,
    *,
    evaluator: Evaluator = DEFAULT_EVALUATOR,
    matches: Matches | None = None,
) -> MeanAp:
    """MAP of detections by every protocol; `evaluator` computes COCO's, both with the same figures.

    matches: those of truth and detections, where they are known already.
    Detections of classes without a single object enter no average, as in every protocol's own tool.
    Raises ValueError when a detection's image is not one of the truth's, when its class is negative, or when the truth
    names its classes and the class is not one of them.
    """
    _check(truth, detections)
    names = _names(truth, detections)
    return MeanAp(
        coco=coco_ap(truth, detections, names, evaluator),
        yolo=yolo_ap(truth, detections, names, matches),
        voc=voc_ap(truth, detections, names),
    )


def _check(truth: GroundTruth, detections: Scored) -> None:
    if not len(detections):
        return
    if detections.image.min() < 0 or detections.image.max() >= len(truth.image_ids):
        raise ValueError(
            f"a detection's image must lie in 0 to {len(truth.image_ids) - 1}, "
            f"got {detections.image.min()} to {detections.image.max()}"
        )
    lowest, highest = detections.class_id.min(), detections.class_id.max()
    if truth.class_names is None:
        if lowest < 0:
            raise ValueError(f"a detection's class must not be negative, got {lowest}")
    elif lowest < 0 or highest >= len(truth.class_names):
        raise ValueError(
            f"a detection's class must be one of the {len(truth.class_names)} classes, got {lowest} to {highest}"
        )


def _names(truth: GroundTruth, detections: Scored) -> list[str]:
    """A different name for every class id: unnamed classes use their id; duplicates get it as a suffix."""
    highest = max(truth.class_id.max(initial=-1), detections.class_id.max(initial=-1))
    if truth.class_names is None:
        return [str(class_id) for class_id in range(highest + 1)]
    uses = Counter(truth.class_names)
    return [
        name if uses[name] == 1 else f"{name} ({class_id})" for class_id, name in enumerate(truth.class_names)
    ]
