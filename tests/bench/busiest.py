"""The photographs on which the sample's time was published: those with as many candidates as theirs had."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.bench.material import Recorded
from tpu_worker.layouts.registry import open_layout

PUBLISHED_CANDIDATES = 4000  # an image, at conf 0.001


def candidates(recorded: Recorded) -> NDArray[np.intp]:
    decoder = open_layout(recorded.spec, conf=0.001, single_label=False)
    return np.array([len(decoder.decode(heads, 0).confidence) for heads in recorded.heads], np.intp)


def busiest(counts: NDArray[np.intp], wanted: float) -> list[int]:
    """The images with the most candidates, as many as have nearest to `wanted` on average."""
    order = np.argsort(-counts, kind="stable")
    means = np.cumsum(counts[order]) / np.arange(1, len(order) + 1)
    return [int(number) for number in order[: int(np.argmin(np.abs(means - wanted))) + 1]]
