"""Outputs of a YOLO network to candidate boxes in input pixels.

Comparing raw objectness with logit(confidence) first leaves sigmoid and box arithmetic to the few survivors. What
survives is decided in float64 by σ(objectness) · σ(class) > confidence, so the shortcut changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import DeviceError
from bmodel.sidecar import HeadSpec, ModelSpec

Rows = NDArray[np.float32]

# Comparisons before the exact one let a little more through than the limit, far beyond float32's rounding.
_LOOSE: Final = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Boxes of one image before suppression, in the order head, anchor, row, column, class.

    xyxy: (N, 4) float32 in input pixels; confidence: (N,) float32; class_id: (N,) int32.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]


def decode_yolo(
    outputs: list[Rows], position: int, spec: ModelSpec, *, confidence: float, multi_label: bool
) -> Candidates:
    """Candidates of the image at `position` in a launch's outputs.

    multi_label: every class whose score exceeds `confidence`, or else only the best class of a box.
    Raises DeviceError when a value that decides over a box is not finite.
    """
    if spec.layout == "decoded":
        parts = [_decode_rows(outputs[0][position], confidence, multi_label=multi_label)]
    else:
        parts = [
            _decode_head(outputs[head.output][position], head, confidence, multi_label=multi_label)
            for head in spec.heads
        ]
    return Candidates(
        xyxy=np.concatenate([part.xyxy for part in parts]),
        confidence=np.concatenate([part.confidence for part in parts]),
        class_id=np.concatenate([part.class_id for part in parts]),
    )


def _decode_head(head_output: Rows, head: HeadSpec, confidence: float, *, multi_label: bool) -> Candidates:
    """Candidates of a raw head, (anchors, rows, columns, 5 + classes)."""
    _, grid_h, grid_w, values = head_output.shape
    rows = head_output.reshape(-1, values)
    objectness = np.ascontiguousarray(rows[:, 4])
    _check_finite(objectness)
    places = np.flatnonzero(objectness > _logit(confidence) - _LOOSE)
    rows = rows[places]
    _check_finite(rows)
    probability = _sigmoid(rows[:, 4])
    row, class_id = _label(rows[:, 5:], _logit(confidence / probability) - _LOOSE, multi_label=multi_label)
    scores = probability[row] * _sigmoid(rows[row, class_id + 5])
    keep = scores > confidence
    row, class_id, scores = row[keep], class_id[keep], scores[keep]
    return Candidates(
        xyxy=_head_boxes(rows, places, head, (grid_h, grid_w))[row],
        confidence=scores.astype(np.float32),
        class_id=class_id.astype(np.int32),
    )


def _head_boxes(
    rows: Rows, places: NDArray[np.intp], head: HeadSpec, grid_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Corners of boxes with xy = (2σ − 0.5 + cell) · stride and wh = (2σ)² · anchor."""
    cell, column = np.divmod(places, grid_hw[1])
    anchor, line = np.divmod(cell, grid_hw[0])
    twice = 2.0 * _sigmoid(rows[:, :4])
    centre = (twice[:, :2] - 0.5 + np.stack((column, line), axis=1)) * head.stride
    half = twice[:, 2:] ** 2 * (np.asarray(head.anchors_wh) / 2.0)[anchor]
    return np.concatenate((centre - half, centre + half), axis=1).astype(np.float32)


def _decode_rows(rows: Rows, confidence: float, *, multi_label: bool) -> Candidates:
    """Candidates of a decoded output, (boxes, cx cy w h objectness classes…), probabilities and input pixels."""
    objectness = np.ascontiguousarray(rows[:, 4])
    _check_finite(objectness)
    rows = rows[objectness > confidence]
    _check_finite(rows)
    probability = rows[:, 4].astype(np.float64)
    row, class_id = _label(rows[:, 5:], confidence / probability * (1 - _LOOSE), multi_label=multi_label)
    scores = probability[row] * rows[row, class_id + 5]
    keep = scores > confidence
    row, class_id, scores = row[keep], class_id[keep], scores[keep]
    centre, half = rows[:, :2].astype(np.float64), rows[:, 2:4].astype(np.float64) / 2.0
    xyxy = np.concatenate((centre - half, centre + half), axis=1).astype(np.float32)
    return Candidates(
        xyxy=xyxy[row], confidence=scores.astype(np.float32), class_id=class_id.astype(np.int32)
    )


def _label(
    classes: Rows, limit: NDArray[np.float64], *, multi_label: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and class of every class value above its row's limit, or of each row's best class."""
    if not multi_label:
        return np.arange(len(classes)), classes.argmax(axis=1)
    flat = np.flatnonzero(classes > limit.astype(np.float32)[:, None])
    row, class_id = np.divmod(flat, max(1, classes.shape[1]))
    return row, class_id


def _sigmoid(values: NDArray[np.floating]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # exp(-x) of a very negative x is infinite, and the sigmoid then 0
        return np.asarray(1.0 / (1.0 + np.exp(-values.astype(np.float64))))


def _logit(probability: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 − p)); −∞ at 0 and ∞ from 1 on, which nothing exceeds."""
    clipped = np.minimum(probability, 1.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _check_finite(values: Rows) -> None:
    if not np.isfinite(values).all():
        raise DeviceError("the device returned values that are not finite (NaN or infinite)")
