"""Non-maximum suppression within classes, exact and without a loop over boxes.

A candidate is kept unless a kept candidate of its class with a better place in the order overlaps it with
IoU > the limit (strictly, in float64). The order is confidence, then the candidate's index.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]

# Candidates looked at together: few enough that the pairs of even a heap of equal boxes fit in memory and that an
# image with many boxes stops early, enough that the cost of a step is not numpy's overhead.
_GROUP: Final = 512
# Up to this many confidences, a stable sort costs less than making keys that need none.
_FEW: Final = 96
# Widens the search, never the decision, beyond what rounding of the sort key could hide.
_SLACK_PX: Final = 1e-6


def best_first(confidence: NDArray[np.float32], limit: int) -> Indices:
    """Indices of the `limit` best of confidences (N,), best first; equal ones in the order of their index."""
    if len(confidence) <= _FEW:
        return (-confidence).argsort(kind="stable")[:limit]
    # Bits of non-negative floats sort like the floats. With the index in the low half, keys are unique and the
    # fastest sort will do, which is not stable by itself.
    bits = np.invert(confidence.view(np.uint32)).astype(np.uint64)
    keys = (bits << np.uint64(32)) | np.arange(len(confidence), dtype=np.uint64)
    keys.sort()
    best: Indices = (keys[:limit] & np.uint64(0xFFFFFFFF)).astype(np.intp)
    return best


def suppress(
    xyxy: NDArray[np.float32], class_id: NDArray[np.int32], *, iou: float, max_detections: int
) -> Indices:
    """Positions of the kept boxes among boxes (N, 4) sorted best first; at most `max_detections`, best first.

    Better boxes are never affected by worse ones, so the work stops as soon as enough are kept: the result is
    that of a full run cut to length.
    """
    (kept,) = _survivors(xyxy[:_GROUP].astype(np.float64), class_id[:_GROUP], iou).nonzero()
    for start in range(_GROUP, len(xyxy), _GROUP):
        if len(kept) >= max_detections:
            break
        group = np.concatenate((kept, np.arange(start, min(start + _GROUP, len(xyxy)))))
        kept = group[_survivors(xyxy[group].astype(np.float64), class_id[group], iou)]
    return kept[:max_detections]


def _survivors(xyxy: NDArray[np.float64], class_id: NDArray[np.int32], iou: float) -> NDArray[np.bool_]:
    """Mask of the kept among boxes sorted best first."""
    if not len(xyxy):
        return np.zeros(0, np.bool_)
    better, worse = _overlapping_pairs(xyxy, class_id, iou)
    kept = np.zeros(len(xyxy), np.bool_)
    undecided = np.ones(len(xyxy), np.bool_)
    while len(better):
        # Whoever has no undecided better rival is kept, and everything that it overlaps is out.
        rivalled = np.zeros(len(xyxy), np.bool_)
        rivalled[worse] = True
        winners = undecided & ~rivalled
        kept |= winners
        undecided &= rivalled
        undecided[worse[winners[better]]] = False
        open_pairs = undecided[better] & undecided[worse]
        better, worse = better[open_pairs], worse[open_pairs]
    return kept | undecided


def _overlapping_pairs(
    xyxy: NDArray[np.float64], class_id: NDArray[np.int32], iou: float
) -> tuple[Indices, Indices]:
    """Pairs (better, worse) of one class with IoU > iou.

    Boxes are sorted by class and left edge. IoU is at most the shared width over the greater width, so a box
    overlaps enough only with boxes whose left edge lies within the first (1 - iou) of its width.
    """
    # One key for class and left edge: classes lie further apart than any box is wide. Edges next to 0 that differ by
    # less than the key's rounding may change places, so a pair's own left edges decide, not their order.
    lefts = xyxy[:, 0]
    key = class_id * (xyxy[:, 2].max() - lefts.min() + 1.0) + lefts
    order = key.argsort(kind="stable")
    key = key[order]
    left, top, right, bottom = np.ascontiguousarray(xyxy[order].T)
    width = right - left
    reach = key.searchsorted(key + ((1.0 - iou) * width + _SLACK_PX), side="right")
    first, second = _runs(np.arange(1, len(xyxy) + 1), reach)
    shared_w = np.minimum(right[first], right[second]) - np.maximum(left[first], left[second])
    shared_h = np.minimum(bottom[first], bottom[second]) - np.maximum(top[first], top[second])
    shared = np.maximum(shared_w, 0.0) * np.maximum(shared_h, 0.0)
    area = width * (bottom - top)
    with np.errstate(invalid="ignore"):  # 0 / 0 of two boxes without area: not > iou
        overlapping = shared / (area[first] + area[second] - shared) > iou
    one, other = order[first[overlapping]], order[second[overlapping]]
    return np.minimum(one, other), np.maximum(one, other)


def _runs(starts: Indices, ends: Indices) -> tuple[Indices, Indices]:
    """Every (i, j) with starts[i] <= j < ends[i]."""
    lengths = np.maximum(ends - starts, 0)
    first = np.arange(len(starts)).repeat(lengths)
    before = lengths.cumsum() - lengths
    return first, np.arange(len(first)) + (starts - before)[first]
