"""The YOLO and the VOC protocol as slow programs that follow their descriptions step by step."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from data.ground_truth import GroundTruth, Scored


def iou(one: list[float], other: list[float], border_px: float) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0]) + border_px
    height = min(one[3], other[3]) - max(one[1], other[1]) + border_px
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + border_px) * (box[3] - box[1] + border_px) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def slow_voc_ap50(truth: GroundTruth, detections: Scored, class_id: int) -> float:
    """The VOC tool's own way: detections best first, each takes the object it overlaps most, if that is free."""
    objects = [
        (int(truth.box_image[row]), [float(int(edge)) + 1 for edge in truth.xyxy[row]])
        for row in range(len(truth.xyxy))
        if truth.class_id[row] == class_id and not truth.crowd[row]
    ]
    rows = [row for row in range(len(detections)) if detections.class_id[row] == class_id]
    rows.sort(
        key=lambda row: -float(detections.confidence[row])
    )  # stable: ties stay in the order of the files
    taken = [False] * len(objects)
    precisions, recalls, hits = [], [], 0
    for count, row in enumerate(rows, start=1):
        box = [float(int(edge)) + 1 for edge in detections.xyxy[row]]
        overlaps = [iou(box, other, 1) if image == detections.image[row] else 0.0 for image, other in objects]
        best = int(np.argmax(overlaps)) if overlaps else 0
        if overlaps and overlaps[best] >= 0.5 and not taken[best]:
            taken[best] = True
            hits += 1
        precisions.append(hits / count)
        recalls.append(hits / len(objects))
    area, last = 0.0, 0.0
    for position, recall in enumerate(recalls):
        area += (recall - last) * max(precisions[position:])
        last = recall
    return area


def slow_yolo_correct(truth: GroundTruth, detections: Scored, threshold: float) -> NDArray[np.bool_]:
    """The authors' matching, image by image: pairs by IoU, one a detection, then one an object."""
    correct = np.zeros(len(detections), np.bool_)
    for image in range(len(truth.image_ids)):
        objects = np.flatnonzero((truth.box_image == image) & ~truth.crowd)
        found = np.flatnonzero(detections.image == image)
        found = found[np.argsort(-detections.confidence[found], kind="stable")]
        pairs = [
            (iou(detections.xyxy[d].tolist(), truth.xyxy[o].tolist(), 0), int(o), rank_)
            for rank_, d in enumerate(found)
            for o in objects
            if detections.class_id[d] == truth.class_id[o]
        ]
        pairs = sorted((pair for pair in pairs if pair[0] >= threshold), key=lambda pair: -pair[0])
        best_of: dict[int, int] = {}
        for _, o, rank_ in pairs:
            best_of.setdefault(rank_, o)
        taken: set[int] = set()
        for rank_ in sorted(best_of):
            if best_of[rank_] not in taken:
                taken.add(best_of[rank_])
                correct[found[rank_]] = True
    return correct


def slow_yolo_ap(truth: GroundTruth, detections: Scored, class_id: int, threshold: float) -> float:
    correct = slow_yolo_correct(truth, detections, threshold)
    rows = np.flatnonzero(detections.class_id == class_id)
    rows = rows[np.lexsort((detections.image[rows], -detections.confidence[rows]))]
    objects = int(((truth.class_id == class_id) & ~truth.crowd).sum())
    recalls, precisions, hits = [0.0], [1.0], 0
    for count, row in enumerate(rows, start=1):
        hits += bool(correct[row])
        recalls.append(hits / objects)
        precisions.append(hits / count)
    if len(recalls) == 1:
        return 0.0
    recalls.append(1.0)
    precisions.append(0.0)
    envelope = [max(precisions[position:]) for position in range(len(precisions))]
    heights = np.interp(np.linspace(0, 1, 101), recalls, envelope)
    return float(sum((left + right) / 200 for left, right in itertools.pairwise(heights.tolist())))
