"""The YOLO authors' protocol, in which their tables (and most of those drawn from them) are measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.ground_truth import GroundTruth, Scored
from jobs.measure.match import Matches, class_slices, found, match_boxes
from jobs.measure.mean_ap_values import YoloAp, YoloClassAp

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0, 1, 101)
CONFIDENCE_POINTS = np.linspace(0, 1, 1000)


def yolo_ap(
    truth: GroundTruth, detections: Scored, names: Sequence[str], matches: Matches | None = None
) -> YoloAp:
    """AP at IoU 0.50:0.95, mean over the classes that have objects; precision and recall at the highest mean F1.

    One precision-recall curve per class and threshold over all images, made monotone, read at 101 recalls by
    linear interpolation and integrated by trapezoids. Boxes stay fractions of a pixel; crowds are no objects,
    and a detection on one is wrong.

    matches: those of truth and detections, where they are known already.
    """
    matches = matches or match_boxes(truth, detections)
    objects, ranked = matches.objects, matches.ranked
    correct = np.stack([found(ranked, threshold) for threshold in IOU_THRESHOLDS], axis=1)
    class_ids, counts = np.unique(objects.class_id, return_counts=True)
    if not len(class_ids):
        return YoloAp(ap=None, ap50=None, precision=None, recall=None, per_class={})
    parts = class_slices(ranked, class_ids)
    aps = np.array([_average_precisions(correct[part], n) for part, n in zip(parts, counts, strict=True)])
    curves = [
        over_confidence(correct[part, 0], ranked.confidence[part], n)
        for part, n in zip(parts, counts, strict=True)
    ]
    precision, recall = _at_highest_f1(np.array(curves))
    per_class = {
        names[class_id]: YoloClassAp(
            ap=float(aps[row].mean()),
            ap50=float(aps[row, 0]),
            precision=float(precision[row]),
            recall=float(recall[row]),
            objects=int(counts[row]),
        )
        for row, class_id in enumerate(class_ids)
    }
    return YoloAp(
        ap=float(aps.mean()),
        ap50=float(aps[:, 0].mean()),
        precision=float(precision.mean()),
        recall=float(recall.mean()),
        per_class=per_class,
    )


def _average_precisions(correct: NDArray[np.bool_], objects: int) -> NDArray[np.float64]:
    """(T,) AP at each threshold; correct: (N, T), a class's detections best first."""
    if not len(correct):
        return np.zeros(correct.shape[1])
    true_positives = np.cumsum(correct, axis=0)
    recall = true_positives / objects
    precision = true_positives / np.arange(1, len(correct) + 1)[:, None]
    columns = zip(recall.T, precision.T, strict=True)
    return np.array([_interpolated_area(*curve) for curve in columns])


def _interpolated_area(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    heights = precision_over_recall(recall, precision)
    return float(((heights[1:] + heights[:-1]) / 2).sum() / (len(RECALL_POINTS) - 1))


def precision_over_recall(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R,) the monotone precision at each of RECALL_POINTS: the curve whose area is the AP."""
    recalls = np.concatenate([[0.0], recall, [1.0]])
    precisions = np.concatenate([[1.0], precision, [0.0]])
    envelope = np.maximum.accumulate(precisions[::-1])[::-1]
    return np.interp(RECALL_POINTS, recalls, envelope)


def over_confidence(
    correct: NDArray[np.bool_], confidence: NDArray[np.float32], objects: int
) -> NDArray[np.float64]:
    """(2, points) precision and recall of a class when only detections above each confidence count."""
    if not len(correct):
        return np.zeros((2, len(CONFIDENCE_POINTS)))
    true_positives = np.cumsum(correct)
    precision = true_positives / np.arange(1, len(correct) + 1)
    falling = -confidence.astype(np.float64)
    return np.stack(
        [
            np.interp(-CONFIDENCE_POINTS, falling, precision, left=1.0),
            np.interp(-CONFIDENCE_POINTS, falling, true_positives / objects, left=0.0),
        ]
    )


def _at_highest_f1(curves: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(classes,) precision and recall at the one confidence where F1, averaged over classes, is highest."""
    precision, recall = curves[:, 0], curves[:, 1]
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
    point = int(f1.mean(axis=0).argmax())
    return precision[:, point], recall[:, point]
