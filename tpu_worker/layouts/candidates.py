"""Candidates, and the arithmetic that the layouts share.

What survives is decided in float64 by score > conf. The comparisons before it, on float32 and a little loose,
only spare most boxes the arithmetic, so they change nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import DeviceError, OutputError

Rows = NDArray[np.float32]

# Comparisons before the exact one let a little more through than the limit, far beyond float32's rounding.
LOOSE: Final = 1e-4
# What rounding, INT8's included, may add to a probability of 1 or take from one of 0.
BEYOND_ONE: Final = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Boxes of one image before suppression, in the order of the network's boxes, then of the classes.

    xyxy: (N, 4) float32 in input pixels; confidence: (N,) float32; class_id: (N,) int32.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]


class Layout(Protocol):
    """Decodes the outputs of one network."""

    @property
    def is_suppressed(self) -> bool:
        """Whether the network has suppressed overlapping boxes itself, so that nobody must do it again."""

    def decode(self, outputs: list[Rows], position: int) -> Candidates:
        """Return the candidates of the image at `position` of a launch's outputs.

        Raises DeviceError when a value that decides over a box is not finite.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which boxes become candidates.

    conf: a candidate's score must exceed it.
    single_label: only a box's best class makes a candidate, instead of every class whose score does.
    """

    conf: float
    single_label: bool

    def label(self, classes: Rows, limit: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and class of every value of `classes` (N, C) above its row's limit, or of each row's best class."""
        if self.single_label:
            return np.arange(len(classes)), classes.argmax(axis=1)
        (flat,) = (classes > limit.astype(np.float32)[:, None]).ravel().nonzero()
        row, class_id = np.divmod(flat, classes.shape[1])
        return row, class_id

    def candidates(
        self,
        centre: NDArray[np.float64],
        half: NDArray[np.float64],
        row: NDArray[np.intp],
        class_id: NDArray[np.intp],
        scores: NDArray[np.float64],
    ) -> Candidates:
        """Boxes (centre and half size, one per row) under the labels (row, class, score) that pass exactly."""
        keep = scores > self.conf
        xyxy = np.concatenate((centre - half, centre + half), axis=1).astype(np.float32)
        return Candidates(
            xyxy=xyxy[row[keep]],
            confidence=as_confidence(scores[keep]),
            class_id=class_id[keep].astype(np.int32),
        )


def as_confidence(scores: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scores as float32, rounding beyond 1 taken off; raises OutputError for what is no probability at all."""
    if len(scores) and (most := float(scores.max())) > 1.0:
        if most > 1.0 + BEYOND_ONE:
            raise OutputError(
                f"layout: a confidence must be within 0..1, got {most:.3g}: the outputs are of another layout than the "
                "model's (docs/models.md)"
            )
        scores = np.minimum(scores, 1.0)
    return scores.astype(np.float32)


def sigmoid(values: Rows) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) in float64."""
    with np.errstate(over="ignore"):  # exp(-x) of a very negative x is infinite, and the sigmoid then 0
        return np.asarray(1.0 / (1.0 + np.exp(-values.astype(np.float64))))


def logit(probability: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 - p)); -∞ at 0 and ∞ from 1 on, which nothing exceeds."""
    clipped = np.minimum(probability, 1.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(clipped) - np.log1p(-clipped))


def check_finite(values: NDArray[np.floating] | np.float32) -> None:
    """Raise DeviceError when a value is NaN or infinite."""
    # A sum is not finite if a term is not; only values without any meaning could overflow it.
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.add.reduce(values, axis=None)
    if not math.isfinite(total):
        raise DeviceError("the device returned values that are not finite (NaN or infinite)")
