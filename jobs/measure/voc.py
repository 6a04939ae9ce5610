"""The competition's protocol, that of Pascal VOC's later years: see `voc_ap`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.formats import whole_pixels
from data.ground_truth import GroundTruth, Scored
from jobs.measure.match import Objects, class_slices, found, objects_without_crowds, rank
from jobs.measure.mean_ap_values import VocAp, VocClassAp

IOU_THRESHOLD = 0.5


def voc_ap(truth: GroundTruth, detections: Scored, names: Sequence[str]) -> VocAp:
    """AP at IoU 0.5 by the competition's rules, mean over the classes that have objects.

    Truth and detections are first brought to whole pixels counted from 1, as files handed in to the competition
    are, and a box includes both its edges; so detections score the same from a run's floats as from its files.
    """
    single = objects_without_crowds(truth)
    pixels = whole_pixels(single.xyxy).astype(np.float64)
    objects = Objects(image=single.image, class_id=single.class_id, xyxy=pixels)
    ranked = rank(objects, detections, whole_pixels(detections.xyxy).astype(np.float64), border_px=1)
    correct = found(ranked, IOU_THRESHOLD)
    class_ids, counts = np.unique(objects.class_id, return_counts=True)
    per_class = {
        names[class_id]: VocClassAp(ap50=_area_under_curve(correct[part], int(count)), objects=int(count))
        for class_id, count, part in zip(class_ids, counts, class_slices(ranked, class_ids), strict=True)
    }
    mean = float(np.mean([entry.ap50 for entry in per_class.values()])) if per_class else None
    return VocAp(ap50=mean, per_class=per_class)


def _area_under_curve(correct: NDArray[np.bool_], objects: int) -> float:
    """Area under precision over recall, precision made monotone from the right; detections best first."""
    true_positives = np.cumsum(correct)
    precision = true_positives / np.arange(1, len(correct) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[correct].sum() / objects)  # recall rises by 1/objects at each correct one
