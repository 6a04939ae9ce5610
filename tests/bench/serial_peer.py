"""Peer (a): the flow of the chip vendor's Python sample, written anew from its public description.

One image at a time, each step after the other: decode, letterbox (resize, grey border, transpose, division by 255),
run, sigmoid and box arithmetic over every anchor, then suppression in numpy with boxes shifted apart by class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec

Floats = NDArray[np.floating]
Infer = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]

CLASS_SHIFT_PX = 7680
SIDE_EXTRA_PX = 1e-5
MAX_CANDIDATES = 30_000
MAX_DETECTIONS = 300
IOU = 0.65


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """How an image was scaled and shifted into the input.

    ratio_yx: the sample has one ratio for both axes, which rounding to whole pixels makes slightly wrong for one.
    """

    ratio_yx: tuple[float, float]
    left: int
    top: int
    source_hw: tuple[int, int]


class SerialSample:
    """The sample's steps. dtype: of its arithmetic, float32 as in the sample; float64 to compare results with."""

    def __init__(self, spec: ModelSpec, *, confidence: float, dtype: type[np.floating] = np.float32) -> None:
        self._spec = spec
        self._confidence = confidence
        self._dtype = dtype

    def detect(self, data: bytes, infer: Infer) -> Floats:
        """Rows x1 y1 x2 y2 score class of one image, best first."""
        bgr = self.decode(data)
        batch, fit = self.preprocess(bgr)
        return self.postprocess(infer(batch), fit)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)

    def preprocess(self, bgr: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Fit]:
        height, width = self._spec.input_hw
        fit = fit_of((bgr.shape[0], bgr.shape[1]), self._spec.input_hw)
        new_h, new_w = (round(side * fit.ratio_yx[0]) for side in bgr.shape[:2])
        if (new_h, new_w) != bgr.shape[:2]:
            bgr = np.asarray(cv2.resize(bgr, (new_w, new_h), interpolation=cv2.INTER_LINEAR), np.uint8)
        bordered = cv2.copyMakeBorder(
            bgr,
            fit.top,
            height - new_h - fit.top,
            fit.left,
            width - new_w - fit.left,
            cv2.BORDER_CONSTANT,
            value=(114, 114, 114),
        )
        planes = bordered[:, :, ::-1].transpose(2, 0, 1).astype(np.float32)
        planes = np.ascontiguousarray(planes / 255.0)
        return np.expand_dims(planes, 0).astype(np.float32), fit

    def postprocess(self, outputs: list[NDArray[np.float32]], fit: Fit) -> Floats:
        rows = self.all_rows(outputs)
        found = self.suppress(rows)
        found[:, [0, 2]] = ((found[:, [0, 2]] - fit.left) / fit.ratio_yx[1]).clip(0, fit.source_hw[1])
        found[:, [1, 3]] = ((found[:, [1, 3]] - fit.top) / fit.ratio_yx[0]).clip(0, fit.source_hw[0])
        return found

    def all_rows(self, outputs: list[NDArray[np.float32]]) -> Floats:
        """Every anchor's cx cy w h objectness classes…, (anchors, 5 + classes)."""
        parts = []
        for head in self._spec.heads:
            values = 1.0 / (1.0 + np.exp(-outputs[head.output].astype(self._dtype, copy=False)))
            _, anchors, height, width, columns = values.shape
            grid_x, grid_y = np.meshgrid(np.arange(width), np.arange(height))
            grid = np.stack((grid_x, grid_y), 2).reshape(1, 1, height, width, 2).astype(self._dtype)
            sizes = np.array(head.anchors_wh, self._dtype).reshape(1, anchors, 1, 1, 2)
            values[..., 0:2] = (values[..., 0:2] * 2.0 - 0.5 + grid) * head.stride
            values[..., 2:4] = (values[..., 2:4] * 2.0) ** 2 * sizes
            parts.append(values.reshape(-1, columns))
        return np.concatenate(parts, 0)

    def suppress(self, rows: Floats) -> Floats:
        rows = rows[rows[:, 4] > self._confidence]
        scores = rows[:, 5:] * rows[:, 4:5]
        half = rows[:, 2:4] / 2
        boxes = np.concatenate((rows[:, :2] - half, rows[:, :2] + half), 1)
        anchor, class_id = (scores > self._confidence).nonzero()
        found = np.concatenate(
            (boxes[anchor], scores[anchor, class_id, None], class_id[:, None].astype(self._dtype)), 1
        )
        if len(found) > MAX_CANDIDATES:
            found = found[np.argsort(-found[:, 4])[:MAX_CANDIDATES]]
        shifted = found[:, :4] + found[:, 5:6] * CLASS_SHIFT_PX
        return found[greedy(shifted, found[:, 4], IOU)[:MAX_DETECTIONS]]


def greedy(boxes: Floats, scores: Floats, iou: float) -> list[int]:
    """Indices kept, best first: take the best, drop what overlaps it, go on with the rest.

    As in the sample, boxes are corner and size in the order that they were found in, the rest's are gathered anew in
    every round, and shared sides are a hundred-thousandth of a pixel longer than they are.
    """
    left, top = boxes[:, 0], boxes[:, 1]
    width, height = boxes[:, 2] - left, boxes[:, 3] - top
    area = width * height
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size:
        best = order[0]
        kept.append(int(best))
        rest = order[1:]
        right_edge = np.minimum(left[best] + width[best], left[rest] + width[rest])
        bottom_edge = np.minimum(top[best] + height[best], top[rest] + height[rest])
        shared_w = np.maximum(0.0, right_edge - np.maximum(left[best], left[rest]) + SIDE_EXTRA_PX)
        shared_h = np.maximum(0.0, bottom_edge - np.maximum(top[best], top[rest]) + SIDE_EXTRA_PX)
        shared = shared_w * shared_h
        overlap = shared / (area[best] + area[rest] - shared)
        order = rest[np.where(overlap <= iou)[0]]
    return kept


def fit_of(source_hw: tuple[int, int], input_hw: tuple[int, int]) -> Fit:
    ratio = min(input_hw[0] / source_hw[0], input_hw[1] / source_hw[1])
    return Fit(
        ratio_yx=(ratio, ratio),
        left=(input_hw[1] - round(source_hw[1] * ratio)) // 2,
        top=(input_hw[0] - round(source_hw[0] * ratio)) // 2,
        source_hw=source_hw,
    )
