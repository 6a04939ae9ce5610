"""Which images the report shows, and what is drawn on them: the twenty worst and twenty typical ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.columns import Scored
from jobs.measure.one_pass import CONFIDENCE_WITHOUT_TRUTH
from jobs.report.judge import Judged

MOST_BOXES = 150
Boxes = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A box to draw, source pixels.

    kind: found, missed, false, excused, crowd or plain. title: class and confidence. rank: whose label matters most,
    from 0: errors before the rest, large before small.
    """

    xyxy: tuple[int, int, int, int]
    kind: str
    title: str
    rank: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """An image to show. truth: None where there is none, so that only detections are drawn."""

    image_id: str
    truth: tuple[Box, ...] | None
    detections: tuple[Box, ...]
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """Scenes to choose from: `scene` makes that of an image, a position in `image_ids`.

    order: positions of all images, the worst first. confidence: the least that is drawn.
    """

    image_ids: Sequence[str]
    order: NDArray[np.int64]
    confidence: float
    scene: Callable[[int], Scene]

    def worst(self, number: int) -> list[Scene]:
        """The images with the most errors."""
        return [self.scene(position) for position in self.order[:number].tolist()]

    def typical(self, number: int) -> list[Scene]:
        """The middle of the order: as many images are worse as are better."""
        start = max(0, (len(self.order) - number) // 2)
        return [self.scene(position) for position in self.order[start : start + number].tolist()]

    def spread(self, number: int) -> list[Scene]:
        """Images at even distances in the order."""
        places = np.unique(np.linspace(0, max(0, len(self.order) - 1), number).astype(np.int64))
        return [self.scene(position) for position in self.order[places].tolist()] if len(self.order) else []


def judged_gallery(judged: Judged, names: Sequence[str]) -> Gallery:
    """Images ordered by missed objects plus false detections; of equal ones the one with fewer objects found."""
    missed, false = judged.missed_by_image(), judged.false_by_image()
    found = np.bincount(judged.objects.image[judged.object_found], minlength=len(missed))
    order = np.lexsort([np.arange(len(missed)), found, -(missed + false)])
    shown_image = judged.detections.image[judged.shown]
    by_image = np.argsort(shown_image, kind="stable")
    object_order = np.argsort(judged.objects.image, kind="stable")
    crowds = np.flatnonzero(judged.truth.crowd)

    def scene(position: int) -> Scene:
        objects = _of_image(judged.objects.image, object_order, position)
        rows = _of_image(shown_image, by_image, position)
        of_crowd = crowds[judged.truth.box_image[crowds] == position]
        return Scene(
            image_id=judged.truth.image_ids[position],
            truth=_truth_boxes(judged, objects, of_crowd, names),
            detections=_detection_boxes(judged, rows, names),
            caption=f"{missed[position]} missed, {false[position]} false, {found[position]} found",
        )

    return Gallery(image_ids=judged.truth.image_ids, order=order, confidence=judged.confidence, scene=scene)


def plain_gallery(image_ids: Sequence[str], detections: Scored, names: Sequence[str]) -> Gallery:
    """Images in the order of the run, without truth to judge them."""
    shown = np.flatnonzero(detections.confidence >= CONFIDENCE_WITHOUT_TRUTH)
    shown_image = detections.image[shown]
    by_image = np.argsort(shown_image, kind="stable")

    def scene(position: int) -> Scene:
        rows = shown[_of_image(shown_image, by_image, position)]
        kinds = ["plain"] * len(rows)
        return Scene(
            image_id=image_ids[position],
            truth=None,
            detections=_scored_boxes(detections, rows, kinds, names),
            caption=f"{len(rows)} detections",
        )

    return Gallery(
        image_ids=image_ids,
        order=np.arange(len(image_ids)),
        confidence=CONFIDENCE_WITHOUT_TRUTH,
        scene=scene,
    )


def _of_image(image: NDArray[np.int32], order: NDArray[np.int64], position: int) -> NDArray[np.int64]:
    start, stop = np.searchsorted(image, [position, position + 1], sorter=order)
    return order[start:stop]


def _truth_boxes(
    judged: Judged, objects: NDArray[np.int64], crowds: NDArray[np.int64], names: Sequence[str]
) -> tuple[Box, ...]:
    found = judged.object_found[objects]
    kinds = ["found" if one else "missed" for one in found.tolist()]
    titles = [names[class_id] for class_id in judged.objects.class_id[objects].tolist()]
    regions = [names[class_id] for class_id in judged.truth.class_id[crowds].tolist()]
    return _boxes(
        np.concatenate([judged.objects.xyxy[objects], judged.truth.xyxy[crowds]]),
        kinds + ["crowd"] * len(regions),
        titles + [f"crowd of {name}" for name in regions],
    )


def _detection_boxes(judged: Judged, rows: NDArray[np.int64], names: Sequence[str]) -> tuple[Box, ...]:
    kinds = np.where(judged.correct[rows], "found", np.where(judged.excused[rows], "excused", "false"))
    return _scored_boxes(judged.detections, judged.shown[rows], kinds.tolist(), names)


def _scored_boxes(
    detections: Scored, rows: NDArray[np.int64], kinds: Sequence[str], names: Sequence[str]
) -> tuple[Box, ...]:
    """Best first, as the rows of an image are."""
    labels = zip(detections.class_id[rows].tolist(), detections.confidence[rows].tolist(), strict=True)
    titles = [f"{names[class_id]} {confidence:.2f}" for class_id, confidence in labels]
    return _boxes(detections.xyxy[rows].astype(np.float64), kinds, titles)


def _boxes(xyxy: Boxes, kinds: Sequence[str], titles: Sequence[str]) -> tuple[Box, ...]:
    """Large boxes first, so that small ones are drawn on top."""
    xyxy, kinds, titles = xyxy[:MOST_BOXES], kinds[:MOST_BOXES], titles[:MOST_BOXES]
    area = np.clip(xyxy[:, 2:] - xyxy[:, :2], 0, None).prod(axis=1)
    is_error = np.isin(np.array(kinds, dtype=str), ["missed", "false"])
    rank = np.argsort(np.lexsort([-area, ~is_error]))
    whole = np.rint(xyxy).astype(np.int64).tolist()
    return tuple(
        Box(
            xyxy=(whole[row][0], whole[row][1], whole[row][2], whole[row][3]),
            kind=kinds[row],
            title=titles[row],
            rank=int(rank[row]),
        )
        for row in np.argsort(-area, kind="stable").tolist()
    )
