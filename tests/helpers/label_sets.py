"""Truth and detections made up for tests: a few boxes by hand, or many from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.ground_truth import GroundTruth, Scored

Box = tuple[float, float, float, float]


def truth_of(
    objects: Sequence[tuple[int, int, Box]],
    *,
    images: int = 1,
    class_names: tuple[str, ...] | None = ("car", "person", "bike"),
    crowd: Sequence[bool] | None = None,
) -> GroundTruth:
    """Truth of (image, class, box) triples."""
    xyxy = np.array([box for _, _, box in objects], np.float64).reshape(-1, 4)
    return GroundTruth(
        class_names=class_names,
        image_ids=tuple(f"{number}.jpg" for number in range(images)),
        box_image=np.array([image for image, _, _ in objects], np.int32),
        class_id=np.array([class_id for _, class_id, _ in objects], np.int32),
        xyxy=xyxy,
        crowd=np.array(crowd if crowd is not None else [False] * len(objects), np.bool_),
        area=(xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]),
    )


def scored_of(detections: Sequence[tuple[int, int, float, Box]]) -> Scored:
    """Detections of (image, class, confidence, box) rows."""
    return Scored(
        image=np.array([image for image, _, _, _ in detections], np.int32),
        class_id=np.array([class_id for _, class_id, _, _ in detections], np.int32),
        confidence=np.array([confidence for _, _, confidence, _ in detections], np.float32),
        xyxy=np.array([box for _, _, _, box in detections], np.float32).reshape(-1, 4),
    )


def random_truth(
    seed: int, *, images: int = 20, objects: int = 120, classes: int = 5, crowds: float = 0.0
) -> GroundTruth:
    """Objects from a few pixels to most of a 640×480 image, of classes that are not equally frequent."""
    dice = np.random.default_rng(seed)
    sides = np.exp(dice.uniform(np.log(6), np.log(300), (objects, 2)))
    corner = dice.uniform(0, 1, (objects, 2)) * (np.array([640, 480]) - sides)
    xyxy = np.concatenate([corner, corner + sides], axis=1)
    return GroundTruth(
        class_names=tuple(f"class {number}" for number in range(classes)),
        image_ids=tuple(f"{number:04d}.jpg" for number in range(images)),
        box_image=np.sort(dice.integers(0, images, objects)).astype(np.int32),
        class_id=np.minimum(dice.geometric(0.4, objects) - 1, classes - 1).astype(np.int32),
        xyxy=xyxy,
        crowd=dice.random(objects) < crowds,
        area=sides.prod(axis=1) * dice.uniform(0.4, 1, objects),  # a segmented object fills its box in part
    )


def detections_near(
    truth: GroundTruth,
    seed: int,
    *,
    copies: int = 4,
    jitter: float = 0.12,
    wrong: int = 60,
    steps: int | None = None,
) -> Scored:
    """Each object found `copies` times, more or less well, and `wrong` boxes anywhere; `steps` makes confidences tie."""
    dice = np.random.default_rng(seed)
    chosen = np.repeat(np.arange(len(truth.xyxy)), copies)
    boxes = truth.xyxy[chosen]
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes = np.concatenate([boxes + dice.normal(0, jitter, boxes.shape) * sides, random_boxes(dice, wrong)])
    boxes = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1
    )
    image = np.concatenate([truth.box_image[chosen], dice.integers(0, max(1, len(truth.image_ids)), wrong)])
    classes = len(truth.class_names or ())
    class_id = np.concatenate([truth.class_id[chosen], dice.integers(0, classes, wrong)])
    confidence = dice.random(len(boxes))
    if steps:
        confidence = np.round(confidence * steps) / steps
    order = np.lexsort((-confidence, image))
    return Scored(
        image=image[order].astype(np.int32),
        class_id=class_id[order].astype(np.int32),
        confidence=confidence[order].astype(np.float32),
        xyxy=boxes[order].astype(np.float32),
    )


def random_boxes(dice: np.random.Generator, count: int) -> np.ndarray:
    """(count, 4) float64 boxes inside 640×480."""
    corner = dice.uniform(0, [440, 280], (count, 2))
    return np.concatenate([corner, corner + dice.uniform(2, 200, (count, 2))], axis=1)


def write_files(folder: Path, texts: dict[str, str]) -> Path:
    """Write text files by relative name; returns the folder."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    folder.mkdir(parents=True, exist_ok=True)
    return folder
