"""Made-up boxes in a network's outputs, whatever their layout: what the timed device answers."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec, TensorSpec

Rows = NDArray[np.float32]

# Far below any confidence that is asked for: sigmoid(-15) = 3e-7.
BACKGROUND_LOGIT: Final = -15.0


def background(spec: ModelSpec, output: TensorSpec) -> Rows:
    """An output without any box."""
    return np.full(output.shape, BACKGROUND_LOGIT if spec.heads else 0.0, np.float32)


def draw_box(outputs: list[Rows], position: int, spec: ModelSpec, dice: np.random.Generator) -> None:
    """Put a box of random place, size, score and class into the outputs of the image at `position`."""
    rows = _as_rows(outputs[int(dice.integers(len(outputs)))][position], spec)
    cell = tuple(int(dice.integers(size)) for size in rows.shape[:-1])
    rows[cell] = _ROWS[spec.layout](spec, dice)


def _as_rows(output: Rows, spec: ModelSpec) -> Rows:
    """A view of an image's output whose last axis holds the values of one box."""
    if spec.layout == "planes":
        columns = 5 + len(spec.class_names)
        return np.moveaxis(output.reshape(-1, columns, *output.shape[1:]), 1, -1)
    return output.T if spec.layout == "anchor-free" and spec.has_classes_first else output


def _raw_box(spec: ModelSpec, dice: np.random.Generator) -> Rows:
    row = np.full(5 + len(spec.class_names), -8.0, np.float32)
    row[:4] = dice.normal(0, 1, 4)
    row[4] = dice.uniform(0, 4)
    row[5 + int(dice.integers(len(spec.class_names)))] = dice.uniform(0, 4)
    return row


def _decoded_box(spec: ModelSpec, dice: np.random.Generator) -> Rows:
    row = np.full(5 + len(spec.class_names), 1e-4, np.float32)
    row[:4] = _centre_and_size(spec, dice)
    row[4] = dice.uniform(0.5, 1)
    row[5 + int(dice.integers(len(spec.class_names)))] = dice.uniform(0.5, 1)
    return row


def _anchor_free_box(spec: ModelSpec, dice: np.random.Generator) -> Rows:
    return np.delete(_decoded_box(spec, dice), 4)


def _yolox_box(spec: ModelSpec, dice: np.random.Generator) -> Rows:
    row = _decoded_box(spec, dice)
    row[:4] = dice.normal(0.5, 0.5, 4)
    return row


def _final_box(spec: ModelSpec, dice: np.random.Generator) -> Rows:
    centre, size = np.split(_centre_and_size(spec, dice), 2)
    score, class_id = dice.uniform(0.5, 1), dice.integers(len(spec.class_names))
    return np.array([*(centre - size / 2), *(centre + size / 2), score, class_id], np.float32)


def _centre_and_size(spec: ModelSpec, dice: np.random.Generator) -> NDArray[np.float64]:
    height, width = spec.input_hw
    return dice.uniform(0.1, 0.9, 4) * (width, height, width / 2, height / 2)


_ROWS: Final = {
    "heads": _raw_box,
    "planes": _raw_box,
    "decoded": _decoded_box,
    "anchor-free": _anchor_free_box,
    "yolox": _yolox_box,
    "end-to-end": _final_box,
}
