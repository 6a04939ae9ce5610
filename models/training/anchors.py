"""Anchors for a set of boxes: k-means in the logarithm of width and height, so that a ratio counts the same at any size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Levels = tuple[tuple[tuple[float, float], ...], ...]


def cluster_anchors(wh_px: NDArray[np.float32], levels: int = 3, per_level: int = 3, seed: int = 0) -> Levels:
    """(N, 2) box widths and heights → anchors (w, h) in the same pixels, finest level first.

    Raises ValueError when there are fewer distinct boxes than anchors.
    """
    points = np.log(np.maximum(wh_px.astype(np.float64), 1.0))
    count = levels * per_level
    if len(np.unique(points, axis=0)) < count:
        raise ValueError(
            f"{count} anchors need at least as many distinct boxes, got {len(np.unique(points, axis=0))}"
        )
    random = np.random.default_rng(seed)
    centres = _spread_start(points, count, random)
    for _ in range(100):
        nearest = np.argmin(_squared_distances(points, centres), axis=1)
        moved = np.stack(
            [points[nearest == k].mean(0) if (nearest == k).any() else centres[k] for k in range(count)]
        )
        if np.allclose(moved, centres, atol=1e-4):
            break
        centres = moved
    ordered = centres[np.argsort(centres.sum(1))]
    pixels = np.exp(ordered).round(1).reshape(levels, per_level, 2)
    return tuple(tuple((float(w), float(h)) for w, h in level) for level in pixels)


def _squared_distances(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    difference = points[:, None] - centres[None]
    squared: NDArray[np.float64] = (difference * difference).sum(2)
    return squared


def _spread_start(
    points: NDArray[np.float64], count: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """First centres far from one another: each is drawn in proportion to the squared distance from those before."""
    centres = points[random.integers(len(points))][None]
    while len(centres) < count:
        weight = _squared_distances(points, centres).min(1)
        centres = np.concatenate((centres, points[random.choice(len(points), p=weight / weight.sum())][None]))
    return centres
