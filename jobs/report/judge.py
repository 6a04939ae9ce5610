"""A run's detections held against its truth: what the curves and the gallery of the report are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.columns import GroundTruth, Scored
from jobs.measure.match import Matches, Objects, Ranked, class_slices, found, match_boxes
from jobs.measure.yolo import CONFIDENCE_POINTS, RECALL_POINTS, over_confidence, precision_over_recall

IOU_THRESHOLD = 0.5
# A detection is excused by a crowd of its class when at least this share of it lies inside.
CROWD_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """The YOLO protocol's curves at IoU 0.5, one row per class that has objects.

    class_id, objects: (C,). precision_at_recall: (C, 101) at recalls 0, 0.01 … 1.
    precision, recall, f1: (C, 1000) at confidences 0 … 1.
    """

    class_id: NDArray[np.int32]
    objects: NDArray[np.int64]
    precision_at_recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]

    @property
    def best_point(self) -> int:
        """Where F1, averaged over classes, is highest."""
        return int(self.f1.mean(axis=0).argmax())

    @property
    def best_confidence(self) -> float:
        """The confidence at which F1, averaged over classes, is highest."""
        return float(CONFIDENCE_POINTS[self.best_point])


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Truth, detections, and who found whom at IoU 0.5.

    objects: the truth without crowds, M of them. confidence: the least confidence that counts.
    shown: (D,) positions in `detections` of those that count. correct: (D,) bool, those that find an object.
    excused: (D,) bool, those that find none but lie on a crowd of their class.
    object_found: (M,) bool, the objects that one of `shown` finds.
    """

    truth: GroundTruth
    detections: Scored
    objects: Objects
    curves: Curves | None
    confidence: float
    shown: NDArray[np.int64]
    correct: NDArray[np.bool_]
    excused: NDArray[np.bool_]
    object_found: NDArray[np.bool_]

    def missed_by_image(self) -> NDArray[np.int64]:
        """(N,) objects that nothing finds, per image."""
        return np.bincount(self.objects.image[~self.object_found], minlength=len(self.truth.image_ids))

    def false_by_image(self) -> NDArray[np.int64]:
        """(N,) detections that find nothing, per image."""
        wrong = self.shown[~self.correct & ~self.excused]
        return np.bincount(self.detections.image[wrong], minlength=len(self.truth.image_ids))


def judge(truth: GroundTruth, detections: Scored, matches: Matches | None = None) -> Judged:
    """Match detections to objects by the YOLO protocol; what counts is what the highest mean F1 lets through.

    matches: those of truth and detections, where they are known already.
    """
    matches = matches or match_boxes(truth, detections)
    objects, ranked = matches.objects, matches.ranked
    correct = found(ranked, IOU_THRESHOLD)
    curves = _curves(objects, ranked, correct)
    confidence = curves.best_confidence if curves is not None else 0.0
    is_correct = np.zeros(len(detections), np.bool_)
    is_correct[ranked.order] = correct
    finders = correct & (ranked.confidence >= confidence)
    object_found = np.zeros(len(objects.class_id), np.bool_)
    object_found[ranked.target[finders]] = True
    shown = np.flatnonzero(detections.confidence >= confidence)
    return Judged(
        truth=truth,
        detections=detections,
        objects=objects,
        curves=curves,
        confidence=confidence,
        shown=shown,
        correct=is_correct[shown],
        excused=_on_crowds(truth, detections, shown) & ~is_correct[shown],
        object_found=object_found,
    )


def _curves(objects: Objects, ranked: Ranked, correct: NDArray[np.bool_]) -> Curves | None:
    class_ids, counts = np.unique(objects.class_id, return_counts=True)
    if not len(class_ids):
        return None
    parts = class_slices(ranked, class_ids)
    by_recall, by_confidence = [], []
    for part, count in zip(parts, counts.tolist(), strict=True):
        true_positives = np.cumsum(correct[part])
        precision = true_positives / np.arange(1, len(true_positives) + 1)
        by_recall.append(
            precision_over_recall(true_positives / count, precision)
            if len(true_positives)
            else np.zeros(len(RECALL_POINTS))
        )
        by_confidence.append(over_confidence(correct[part], ranked.confidence[part], count))
    both = np.array(by_confidence)
    precision, recall = both[:, 0], both[:, 1]
    total = precision + recall
    return Curves(
        class_id=class_ids,
        objects=counts,
        precision_at_recall=np.array(by_recall),
        precision=precision,
        recall=recall,
        f1=np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0),
    )


def _on_crowds(truth: GroundTruth, detections: Scored, shown: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(len(shown),) bool; a loop over crowds, of which even large sets have few."""
    excused = np.zeros(len(shown), np.bool_)
    order = np.argsort(detections.image[shown], kind="stable")
    image = detections.image[shown][order]
    for crowd in np.flatnonzero(truth.crowd).tolist():
        start, stop = np.searchsorted(image, [truth.box_image[crowd], truth.box_image[crowd] + 1])
        those = order[start:stop]
        boxes = detections.xyxy[shown[those]].astype(np.float64)
        region = truth.xyxy[crowd]
        sides = np.clip(np.minimum(boxes[:, 2:], region[2:]) - np.maximum(boxes[:, :2], region[:2]), 0, None)
        own = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
        inside = sides.prod(axis=1) >= CROWD_SHARE * own
        excused[those] |= inside & (detections.class_id[shown[those]] == truth.class_id[crowd])
    return excused
