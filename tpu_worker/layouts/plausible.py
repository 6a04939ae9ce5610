"""Whether outputs can be what their layout says, by the values of the first images; wrong boxes never pass in silence.

Values that a right network may have are never refused: each rule is far from them.
"""

from __future__ import annotations

from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import OutputError
from bmodel.layouts import BOX_COLUMNS, PLAIN_BOX_COLUMNS
from bmodel.sidecar import ModelSpec
from tpu_worker.layouts.candidates import BEYOND_ONE, Rows, sigmoid

# Boxes that are judged: enough of them, or sure ones.
_LEAST_SCORE: Final = 0.01
_ENOUGH: Final = 5
_SURE: Final = 0.25
# What the worst box of a network, even an untrained one, stays below; behind a second sigmoid none is below a quarter.
_LEAST_CONF: Final = 0.05
_FEW: Final = 50
# Pixels: all sides of all boxes are far below in what is normalised, or left to the host to decode.
_NORMALISED_PX: Final = 2.0
_UNDECODED_PX: Final = 16.0


def check_plausible(outputs: list[Rows], position: int, spec: ModelSpec, conf: float) -> None:
    """Raise OutputError, naming the likely layout, when the outputs of the image at `position` are none of the spec's."""
    rows = _rows_of(outputs, position, spec)
    if not np.isfinite(rows).all():
        return  # the device's failure, which decoding sees
    if spec.heads:
        _check_raw(rows, spec)
        scores = sigmoid(rows[:, 4]) * sigmoid(rows[:, BOX_COLUMNS:].max(axis=1))
    elif spec.layout == "end-to-end":
        _check_probabilities(rows[:, 4:5], rows, spec)
        _check_classes(rows, spec, conf)
        scores = rows[:, 4].astype(np.float64)
    else:
        first = PLAIN_BOX_COLUMNS if spec.layout == "anchor-free" else BOX_COLUMNS
        _check_probabilities(rows[:, 4:], rows, spec)
        objectness = 1.0 if spec.layout == "anchor-free" else rows[:, 4].astype(np.float64)
        scores = objectness * rows[:, first:].max(axis=1)
    if not spec.heads:
        _check_boxes(rows[:, :4].astype(np.float64), scores, spec)
    if spec.layout != "end-to-end" and len(scores) >= _FEW and scores.min() > max(conf, _LEAST_CONF):
        _refuse(
            spec, f"every one of {len(scores)} boxes passes, the worst with a score of {scores.min():.3g}"
        )


def _rows_of(outputs: list[Rows], position: int, spec: ModelSpec) -> Rows:
    """All boxes of an image, (boxes, columns)."""
    images = [output[position] for output in outputs]
    columns = BOX_COLUMNS + len(spec.class_names)
    if spec.layout == "planes":
        images = [np.moveaxis(image.reshape(-1, columns, *image.shape[1:]), 1, -1) for image in images]
    if spec.layout == "anchor-free" and spec.has_classes_first:
        images = [images[0].T]
    return np.concatenate([image.reshape(-1, image.shape[-1]) for image in images])


def _check_raw(rows: Rows, spec: ModelSpec) -> None:
    least, most = float(rows.min()), float(rows.max())
    if least >= 0.0 and 0.0 < most <= 1.0:
        _refuse(
            spec,
            f"all values lie within 0..1 ({least:.3g} to {most:.3g}), as behind a sigmoid; export the heads without it",
        )


def _check_probabilities(probabilities: Rows, rows: Rows, spec: ModelSpec) -> None:
    least, most = float(probabilities.min()), float(probabilities.max())
    if least >= -BEYOND_ONE and most <= 1.0 + BEYOND_ONE:
        return
    likely = "values before a sigmoid, or another layout"
    if rows.shape[1] == 6 and (rows[:, 5] == np.rint(rows[:, 5])).all():
        likely = "as in rows of x1 y1 x2 y2 score class, which is --layout end-to-end"
    _refuse(spec, f"probabilities must be within 0..1, got {least:.3g} to {most:.3g}: {likely}")


def _check_classes(rows: Rows, spec: ModelSpec, conf: float) -> None:
    classes = rows[rows[:, 4] > conf, 5]
    wrong = classes[(classes != np.rint(classes)) | (classes < 0) | (classes >= len(spec.class_names))]
    if len(wrong):
        _refuse(
            spec, f"a class must be a whole number below {len(spec.class_names)}, got {float(wrong[0]):g}"
        )


def _check_boxes(boxes: NDArray[np.float64], scores: NDArray[np.float64], spec: ModelSpec) -> None:
    """Judge boxes (N, 4) by their layout's own numbers: their sizes in any case, their places where scores count."""
    counting = scores > _LEAST_SCORE
    is_judged = counting.sum() >= _ENOUGH or (scores > _SURE).any()
    # Boxes of low scores are spread over the input all the same, unless there are none behind them.
    are_there = boxes.any(axis=1)
    if are_there.sum() >= _FEW:
        _check_sizes(boxes[are_there], spec)
    elif is_judged:
        _check_sizes(boxes[counting], spec)
    if is_judged and spec.layout != "yolox":
        _check_inside(boxes[counting], spec)


def _check_sizes(boxes: NDArray[np.float64], spec: ModelSpec) -> None:
    largest = float(np.abs(boxes).max())
    if spec.layout == "yolox":
        if float(np.median(np.abs(boxes[:, 2:]))) > _UNDECODED_PX:
            _refuse(
                spec, f"sizes up to {largest:.3g} are no logarithms: decoded boxes, which is --layout decoded"
            )
        return
    if largest <= _NORMALISED_PX and boxes.min() >= -0.5:
        _refuse(spec, "all boxes lie within 2 pixels, as if normalised to 0..1; export them in input pixels")
    if largest < _UNDECODED_PX < min(spec.input_hw):
        _refuse(
            spec, f"no side is above {largest:.3g} pixels: boxes left to be decoded, as with --layout yolox"
        )


def _check_inside(boxes: NDArray[np.float64], spec: ModelSpec) -> None:
    if spec.layout == "end-to-end":
        boxes = np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2.0, boxes[:, 2:] - boxes[:, :2]), axis=1)
    height, width = spec.input_hw
    centre, size = boxes[:, :2] / (width, height), boxes[:, 2:] / (width, height)
    is_box = ((centre > -1.0) & (centre < 2.0) & (size >= 0.0) & (size < 4.0)).all(axis=1)
    if is_box.mean() < 0.5:
        _refuse(spec, f"{(~is_box).sum()} of {len(boxes)} boxes cannot lie in an input of {width} x {height}")


def _refuse(spec: ModelSpec, finding: str) -> NoReturn:
    raise OutputError(
        f"layout: the outputs of '{spec.name}' are not what '{spec.layout}' says: {finding} (docs/models.md)"
    )
