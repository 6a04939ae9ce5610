"""Decoding and suppression in plain, slow float64, for tests to compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec

Float64 = NDArray[np.float64]


def sigmoid(values: Float64) -> Float64:
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-values)))


def all_boxes(outputs: list[NDArray[np.float32]], position: int, spec: ModelSpec) -> tuple[Float64, Float64]:
    """Corners (A, 4) and scores (A, classes) of every anchor of one image."""
    if not spec.heads:
        return _flat_boxes(outputs[0][position].astype(np.float64), spec)
    corners, scores = [], []
    for head in spec.heads:
        values = outputs[head.output][position].astype(np.float64)
        if spec.layout == "planes":
            values = values.reshape(len(head.anchors_wh), -1, *values.shape[1:]).transpose(0, 2, 3, 1)
        for anchor, anchor_wh in enumerate(head.anchors_wh):
            for row in range(values.shape[1]):
                for column in range(values.shape[2]):
                    probabilities = sigmoid(values[anchor, row, column])
                    centre = (2 * probabilities[:2] - 0.5 + (column, row)) * head.stride
                    size = (2 * probabilities[2:4]) ** 2 * np.array(anchor_wh)
                    corners.append(_corners(centre[None], size[None])[0])
                    scores.append(probabilities[4] * probabilities[5:])
    return np.array(corners), np.array(scores)


def _flat_boxes(rows: Float64, spec: ModelSpec) -> tuple[Float64, Float64]:
    if spec.layout == "end-to-end":
        return rows[:, :4], rows[:, 4:5] * (rows[:, 5:] == np.arange(len(spec.class_names)))
    if spec.layout == "anchor-free":
        rows = rows.T if rows.shape[0] == 4 + len(spec.class_names) else rows
        return _corners(rows[:, :2], rows[:, 2:4]), rows[:, 4:]
    if spec.layout == "yolox":
        height, width = spec.input_hw
        cells = [
            (column, row, stride)
            for stride in (8, 16, 32)
            for row in range(height // stride)
            for column in range(width // stride)
        ]
        for box, (column, row, stride) in zip(rows, cells, strict=True):
            box[:4] = (
                (box[0] + column) * stride,
                (box[1] + row) * stride,
                np.exp(box[2]) * stride,
                np.exp(box[3]) * stride,
            )
    return _corners(rows[:, :2], rows[:, 2:4]), rows[:, 4:5] * rows[:, 5:]


def _corners(centre: Float64, size: Float64) -> Float64:
    return np.concatenate((centre - size / 2, centre + size / 2), axis=1)


def suppressed(
    xyxy: NDArray[np.float32], class_id: NDArray[np.int32], *, iou: float, max_detections: int
) -> list[int]:
    """Kept positions among boxes sorted best first, one box and one rival at a time."""
    boxes = xyxy.astype(np.float64)
    kept: list[int] = []
    for candidate in range(len(boxes)):
        rivals = [best for best in kept if class_id[best] == class_id[candidate]]
        if not any(overlap(boxes[best], boxes[candidate]) > iou for best in rivals):
            kept.append(candidate)
    return kept[:max_detections]


def overlap(one: Float64, other: Float64) -> float:
    """Intersection over union; 0 for two boxes without area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    area = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return float(shared / (area - shared)) if area > shared else 0.0
