"""Outputs of a YOLO network to candidate boxes in input pixels.

Comparing raw objectness with logit(confidence) first leaves sigmoid and box arithmetic to the few survivors. What
survives is decided in float64 by σ(objectness) · σ(class) > confidence, so the shortcut changes nothing.
"""

from __future__ import annotations

import math
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


class YoloDecoder:
    """Decodes the outputs of one network.

    confidence: a candidate's score must exceed it.
    multi_label: every class whose score does makes a candidate, or else only a box's best class.
    """

    def __init__(self, spec: ModelSpec, *, confidence: float, multi_label: bool) -> None:
        self._spec = spec
        self._confidence = confidence
        self._multi_label = multi_label
        self._limit = float(_logit(confidence)) - _LOOSE
        self._anchors = np.concatenate(
            [_anchor_table(head, spec.outputs[head.output].shape) for head in spec.heads]
            or [np.zeros((0, 5))]
        )

    def decode(self, outputs: list[Rows], position: int) -> Candidates:
        """Candidates of the image at `position` in a launch's outputs.

        Raises DeviceError when a value that decides over a box is not finite.
        """
        if self._spec.layout == "decoded":
            return self._from_decoded(outputs[0][position])
        values = outputs[0].shape[-1]
        return self._from_heads([outputs[h.output][position].reshape(-1, values) for h in self._spec.heads])

    def _from_heads(self, heads: list[Rows]) -> Candidates:
        """Candidates of raw heads, each (anchors · rows · columns, 5 + classes)."""
        objectness = np.concatenate([rows[:, 4] for rows in heads])
        # NaN and -∞ show in the least value, and ∞ is above the limit, so that its row is looked at.
        _check_finite(objectness.min())
        (places,) = (objectness > self._limit).nonzero()
        rows = _take(heads, places)
        _check_finite(rows)
        box = _sigmoid(rows[:, :5])
        probability = box[:, 4]
        row, class_id = self._label(rows[:, 5:], _logit(self._confidence / probability) - _LOOSE)
        scores = probability[row] * _sigmoid(rows[row, class_id + 5])
        table = self._anchors[places]
        centre = (2.0 * box[:, :2] + table[:, :2]) * table[:, 4:]
        return self._candidates(centre, box[:, 2:4] ** 2 * table[:, 2:4], row, class_id, scores)

    def _from_decoded(self, rows: Rows) -> Candidates:
        """Candidates of a decoded output, (boxes, cx cy w h objectness classes…), in probabilities."""
        _check_finite(rows[:, 4])
        rows = rows[rows[:, 4] > self._confidence]
        _check_finite(rows)
        probability = rows[:, 4].astype(np.float64)
        row, class_id = self._label(rows[:, 5:], self._confidence / probability * (1.0 - _LOOSE))
        scores = probability[row] * rows[row, class_id + 5]
        boxes = rows[:, :4].astype(np.float64)
        return self._candidates(boxes[:, :2], boxes[:, 2:] / 2.0, row, class_id, scores)

    def _label(self, classes: Rows, limit: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and class of every class value above its row's limit, or of each row's best class."""
        if not self._multi_label:
            return np.arange(len(classes)), classes.argmax(axis=1)
        (flat,) = (classes > limit.astype(np.float32)[:, None]).ravel().nonzero()
        row, class_id = np.divmod(flat, classes.shape[1])
        return row, class_id

    def _candidates(
        self,
        centre: NDArray[np.float64],
        half: NDArray[np.float64],
        row: NDArray[np.intp],
        class_id: NDArray[np.intp],
        scores: NDArray[np.float64],
    ) -> Candidates:
        """Boxes (centre and half size, a row each) under the labels (row, class, score) that pass exactly."""
        keep = scores > self._confidence
        xyxy = np.concatenate((centre - half, centre + half), axis=1).astype(np.float32)
        return Candidates(
            xyxy=xyxy[row[keep]],
            confidence=scores[keep].astype(np.float32),
            class_id=class_id[keep].astype(np.int32),
        )


def _anchor_table(head: HeadSpec, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """What turns σ into the boxes of a head, (anchors, 5): column and row less 0.5, twice width and height, and stride.

    A raw box is xy = (2σ - 0.5 + cell) · stride, wh = (2σ)² · anchor; half of its wh is σ² · 2 · anchor.
    """
    anchor, line, column = np.indices(shape[1:4]).reshape(3, -1)
    twice_wh = np.array(head.anchors_wh)[anchor] * 2.0
    return np.column_stack((column - 0.5, line - 0.5, twice_wh, np.full(len(anchor), head.stride)))


def _take(heads: list[Rows], places: NDArray[np.intp]) -> Rows:
    """Rows at ascending positions in the heads laid end to end, without joining the heads."""
    taken = np.empty((len(places), heads[0].shape[1]), np.float32)
    start = offset = 0
    for rows in heads:
        end = int(places.searchsorted(offset + len(rows)))
        if end > start:
            # Positions are in range; the mode spares numpy a buffered copy.
            rows.take(places[start:end] - offset, axis=0, out=taken[start:end], mode="clip")
        start, offset = end, offset + len(rows)
    return taken


def _sigmoid(values: Rows) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # exp(-x) of a very negative x is infinite, and the sigmoid then 0
        return np.asarray(1.0 / (1.0 + np.exp(-values.astype(np.float64))))


def _logit(probability: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 - p)); -∞ at 0 and ∞ from 1 on, which nothing exceeds."""
    clipped = np.minimum(probability, 1.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _check_finite(values: Rows | np.float32) -> None:
    # A sum is not finite if a term is not; only values without any meaning could overflow it.
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.add.reduce(values, axis=None)
    if not math.isfinite(total):
        raise DeviceError("the device returned values that are not finite (NaN or infinite)")
