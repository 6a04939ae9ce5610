"""Which detection finds which object: the part that the YOLO and the VOC protocol share, over all images at once.

Both say the same of an image: a detection looks at the one object of its class that it overlaps most, and of the
detections that look at an object (and overlap it enough) the most confident one finds it; all others are wrong.
They differ in how they measure the overlap, and in the average they draw from the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.ground_truth import GroundTruth, Scored

# Pairs of a detection and an object looked at in one go: bounds the memory, some 100 bytes a pair.
PAIRS_AT_ONCE: Final = 2_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Objects:
    """The truth that a protocol counts, M objects: image, class and box (float64, pixels) of each."""

    image: NDArray[np.int32]
    class_id: NDArray[np.int32]
    xyxy: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """Detections of classes that have objects, sorted by class and then best first, with what they look at.

    class_id, confidence: (N,). target: (N,) int64 position of the object overlapped most, len(objects) for none.
    overlap: (N,) float64, IoU with it. order: (N,) int64, where they stood before.
    """

    class_id: NDArray[np.int32]
    confidence: NDArray[np.float32]
    target: NDArray[np.int64]
    overlap: NDArray[np.float64]
    order: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """What the YOLO protocol's figures and the report's judgement of single boxes are both drawn from."""

    objects: Objects
    ranked: Ranked


def match_boxes(truth: GroundTruth, detections: Scored) -> Matches:
    """Rank detections against single objects, boxes as they are, in fractions of a pixel."""
    objects = objects_without_crowds(truth)
    boxes = detections.xyxy.astype(np.float64)
    return Matches(objects=objects, ranked=rank(objects, detections, boxes, border_px=0))


def objects_without_crowds(truth: GroundTruth) -> Objects:
    """The single objects: neither protocol knows crowds, and YOLO labels leave them out."""
    single = ~truth.crowd
    return Objects(image=truth.box_image[single], class_id=truth.class_id[single], xyxy=truth.xyxy[single])


def rank(
    objects: Objects,
    detections: Scored,
    boxes: NDArray[np.float64],
    *,
    border_px: float,
    pairs_at_once: int = PAIRS_AT_ONCE,
) -> Ranked:
    """Sort the detections and find what each looks at.

    boxes: (N, 4) the detections' boxes as the protocol sees them. border_px: added to every width and height
    before IoU is taken (1 where both edges of a box belong to it). Ties in confidence keep the order of the
    images and, within one, the order given.
    """
    target, overlap = _most_overlapped(objects, detections, boxes, border_px, pairs_at_once)
    counted = np.flatnonzero(np.isin(detections.class_id, np.unique(objects.class_id)))
    keys = (detections.image[counted], -detections.confidence[counted], detections.class_id[counted])
    order = counted[np.lexsort(keys)]
    return Ranked(
        class_id=detections.class_id[order],
        confidence=detections.confidence[order],
        target=target[order],
        overlap=overlap[order],
        order=order,
    )


def found(ranked: Ranked, threshold: float) -> NDArray[np.bool_]:
    """(N,) bool: which detections find their object, at this IoU or above."""
    claims = np.flatnonzero(ranked.overlap >= threshold)
    _, first = np.unique(
        ranked.target[claims], return_index=True
    )  # best first, so the first claim is the best
    correct = np.zeros(len(ranked.target), np.bool_)
    correct[claims[first]] = True
    return correct


def class_slices(ranked: Ranked, class_ids: NDArray[np.int32]) -> list[slice]:
    """Where each class's detections stand."""
    starts = np.searchsorted(ranked.class_id, class_ids, side="left")
    stops = np.searchsorted(ranked.class_id, class_ids, side="right")
    return [slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True)]


def _most_overlapped(
    objects: Objects, detections: Scored, boxes: NDArray[np.float64], border_px: float, pairs_at_once: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    by_key, starts, counts = _same_image_and_class(objects, detections)
    target = np.zeros(len(boxes), np.int64)
    overlap = np.zeros(len(boxes))
    for chosen in _portions(np.flatnonzero(counts), counts, pairs_at_once):
        sizes = counts[chosen]
        first = np.cumsum(sizes) - sizes
        within = np.arange(sizes.sum()) - np.repeat(first, sizes)
        pair_object = by_key[np.repeat(starts[chosen], sizes) + within]
        iou = _iou(np.repeat(boxes[chosen], sizes, axis=0), objects.xyxy[pair_object], border_px)
        best = np.maximum.reduceat(iou, first)
        is_best = np.flatnonzero(iou == np.repeat(best, sizes))
        first_best = is_best[np.searchsorted(is_best, first)]  # of equal overlaps, the object named first
        overlap[chosen] = best
        target[chosen] = pair_object[first_best]
    return target, overlap


def _same_image_and_class(
    objects: Objects, detections: Scored
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Positions of objects sorted by image and class; each detection's first in there, and how many there are."""
    classes = 1 + max(objects.class_id.max(initial=0), detections.class_id.max(initial=0))
    keys = objects.image.astype(np.int64) * classes + objects.class_id
    wanted = detections.image.astype(np.int64) * classes + detections.class_id
    by_key = np.argsort(keys, kind="stable")
    ordered = keys[by_key]
    starts = np.searchsorted(ordered, wanted, side="left")
    return by_key, starts, np.searchsorted(ordered, wanted, side="right") - starts


def _portions(
    positions: NDArray[np.int64], counts: NDArray[np.int64], pairs_at_once: int
) -> Iterator[NDArray[np.int64]]:
    ends = np.cumsum(counts[positions])
    done = 0
    while done < len(positions):
        pairs_before = ends[done - 1] if done else 0
        stop = max(done + 1, int(np.searchsorted(ends, pairs_before + pairs_at_once, side="right")))
        yield positions[done:stop]
        done = stop


def _iou(one: NDArray[np.float64], other: NDArray[np.float64], border_px: float) -> NDArray[np.float64]:
    """(P,) intersection over union of pairs of boxes, 0 where neither has an area."""
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2]) + border_px
    shared = np.where((sides > 0).all(axis=1), sides[:, 0] * sides[:, 1], 0.0)
    union = _areas(one, border_px) + _areas(other, border_px) - shared
    return np.divide(shared, union, out=np.zeros(len(shared)), where=union > 0)


def _areas(xyxy: NDArray[np.float64], border_px: float) -> NDArray[np.float64]:
    sides = xyxy[:, 2:] - xyxy[:, :2] + border_px
    areas: NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return areas
