"""Two lists of boxes of one image: which of one is which of the other, and what became of the rest.

Matching is one to one and within a class: as many pairs as an overlap allows, never a box in two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.formats import NamedBoxes

IOUS: Final = (0.5, 0.75, 0.9)
"""Overlaps that boxes are matched at. NMS leaves neighbours of a class that overlap up to its own limit (0.65 as a
rule), so only the last tells a box from its neighbour for certain."""
STRICTEST: Final = IOUS[-1]

MOVED_IOU: Final = 0.1
SAME_SIDE_PX: Final = 1.0
SAME_CONFIDENCE: Final = 1e-4

Kind = Literal["moved", "relabelled", "missing", "added"]
Matrix = NDArray[np.float64]
Allowed = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A box without a counterpart at the strictest overlap.

    theirs, ours: rows in the two lists, None where there is none. kind: `moved`, the same class elsewhere;
    `relabelled`, another class in the same place; `missing`, theirs alone; `added`, ours alone.
    """

    kind: Kind
    theirs: int | None
    ours: int | None


def overlaps(one: NamedBoxes, other: NamedBoxes) -> Matrix:
    """(N, M) intersection over union in whole pixels, both edges counted in, as the VOC tool measures it."""
    low = np.maximum(one.xyxy[:, None, :2], other.xyxy[None, :, :2])
    high = np.minimum(one.xyxy[:, None, 2:], other.xyxy[None, :, 2:])
    shared = np.clip(high - low + 1, 0, None).prod(axis=2)
    union = _areas(one)[:, None] + _areas(other)[None, :] - shared
    return np.asarray(shared / union, np.float64)


def _areas(boxes: NamedBoxes) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2] + 1).prod(axis=1)
    return areas


def same_class(one: NamedBoxes, other: NamedBoxes) -> Allowed:
    """(N, M) whether two boxes bear the same name."""
    names = np.array(one.names, dtype=str)[:, None] == np.array(other.names, dtype=str)[None, :]
    return np.asarray(names, np.bool_).reshape(len(one.names), len(other.names))


def confidence_gaps(one: NamedBoxes, other: NamedBoxes) -> Matrix:
    """(N, M) how far two confidences are apart."""
    return np.abs(one.confidence[:, None] - other.confidence[None, :])


def match(allowed: Allowed, *by: Matrix) -> NDArray[np.int64]:
    """(N,) each row's partner among the columns, -1 for none: as many pairs as `allowed` has room for.

    Of equally many, the pairs that `by` puts first are preferred: smallest value first, the first matrix above the
    second. Those are taken one after another; where that leaves rows over, partners are passed on until no more
    pairs are possible (augmenting paths).
    """
    rows, columns = np.nonzero(allowed)
    order = np.lexsort([matrix[rows, columns] for matrix in reversed(by)]) if by else np.arange(len(rows))
    partner = np.full(allowed.shape[0], -1, np.int64)
    taken = np.full(allowed.shape[1], -1, np.int64)
    choices: list[list[int]] = [[] for _ in range(allowed.shape[0])]
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        choices[row].append(column)
        if partner[row] < 0 and taken[column] < 0:
            partner[row], taken[column] = column, row
    for row in np.flatnonzero(partner < 0).tolist():
        _augment(row, choices, partner, taken)
    return partner


def _augment(
    row: int, choices: list[list[int]], partner: NDArray[np.int64], taken: NDArray[np.int64]
) -> None:
    """Find a partner for one more row, if need be by moving others to their other choices; breadth first."""
    reached_from: dict[int, int] = {}
    queue = [row]
    for current in queue:
        for column in choices[current]:
            if column in reached_from:
                continue
            reached_from[column] = current
            if taken[column] < 0:
                _pass_on(column, reached_from, partner, taken)
                return
            queue.append(int(taken[column]))


def _pass_on(
    column: int, reached_from: dict[int, int], partner: NDArray[np.int64], taken: NDArray[np.int64]
) -> None:
    while column >= 0:
        row = reached_from[column]
        before = int(partner[row])
        partner[row], taken[column] = column, row
        column = before


def explain(theirs: NamedBoxes, ours: NamedBoxes, partner: NDArray[np.int64]) -> list[Difference]:
    """What became of the boxes that have no partner at the strictest overlap, theirs in order and then ours.

    A box of the same class, size and confidence elsewhere was moved, however far; so was one that still overlaps a
    little. A box of another class in the same place was relabelled. Each counts once.
    """
    iou, gaps, same = overlaps(theirs, ours), confidence_gaps(theirs, ours), same_class(theirs, ours)
    kinds: list[tuple[Kind, Allowed, tuple[Matrix, ...]]] = [
        ("moved", same & _same_size(theirs, ours) & (gaps <= SAME_CONFIDENCE), (gaps, -iou)),
        ("relabelled", ~same & (iou >= STRICTEST), (gaps, -iou)),
        ("moved", same & (iou >= MOVED_IOU), (-iou, gaps)),
    ]
    partner = partner.copy()
    found: dict[int, Difference] = {}
    for kind, allowed, by in kinds:
        free = (partner < 0)[:, None] & ~np.isin(np.arange(len(ours.names)), partner)[None, :]
        for row, column in enumerate(match(allowed & free, *by).tolist()):
            if column >= 0:
                partner[row] = column
                found[row] = Difference(kind=kind, theirs=row, ours=column)
    for row in np.flatnonzero(partner < 0).tolist():
        found[row] = Difference(kind="missing", theirs=row, ours=None)
    added = np.setdiff1d(np.arange(len(ours.names)), partner).tolist()
    return [found[row] for row in sorted(found)] + [
        Difference(kind="added", theirs=None, ours=column) for column in added
    ]


def _same_size(one: NamedBoxes, other: NamedBoxes) -> Allowed:
    sides = one.xyxy[:, 2:] - one.xyxy[:, :2], other.xyxy[:, 2:] - other.xyxy[:, :2]
    near = np.abs(sides[0][:, None] - sides[1][None, :]) <= SAME_SIDE_PX
    return np.asarray(near.all(axis=2), np.bool_)
