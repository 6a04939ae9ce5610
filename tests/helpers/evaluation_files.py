"""Truth of a few images as files in every form, and detections near it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.formats import format_labels
from data.ground_truth import GroundTruth, Scored
from jobs.measure.evaluation import Evaluation
from tests.helpers.label_sets import detections_near, random_truth, write_files

SIZE_HW = (480, 640)
NAMES = ("class0", "class1", "class2")


def known_set() -> tuple[GroundTruth, Scored]:
    """Truth of 8 images, and detections better than chance."""
    truth = replace(random_truth(1, images=8, objects=40, classes=3), class_names=NAMES)
    # The truth's files have no areas of their own.
    xyxy = np.round(truth.xyxy, 3)
    truth = replace(truth, xyxy=xyxy, area=(xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]))
    return truth, detections_near(truth, 2)


def coco_json(truth: GroundTruth, folder: Path, image_ids: Sequence[str] | None = None) -> Path:
    content = {
        "images": [
            {"id": number, "file_name": name, "height": SIZE_HW[0], "width": SIZE_HW[1]}
            for number, name in enumerate(image_ids or truth.image_ids)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(truth.class_names or ())],
        "annotations": [
            {"image_id": int(image), "category_id": int(class_id), "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for image, class_id, (x1, y1, x2, y2) in zip(
                truth.box_image, truth.class_id, truth.xyxy.tolist(), strict=True
            )
        ],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def label_folder(truth: GroundTruth, found: Scored | None, label_format: Any, folder: Path) -> Path:
    texts = {}
    for image, image_id in enumerate(truth.image_ids):
        source = (truth.box_image, truth.class_id, truth.xyxy) if found is None else None
        image_of, class_of, box_of = source or (found.image, found.class_id, found.xyxy)  # type: ignore[union-attr]
        rows = np.flatnonzero(image_of == image)
        confidence = np.ones(len(rows)) if found is None else found.confidence[rows]
        texts[image_id.replace(".jpg", ".txt")] = format_labels(
            label_format, box_of[rows], confidence, class_of[rows], SIZE_HW, NAMES, 100.0 + image
        )
    return write_files(folder, texts)


def image_folder(truth: GroundTruth, folder: Path) -> Path:
    folder.mkdir()
    _, encoded = cv2.imencode(".jpg", np.zeros((*SIZE_HW, 3), np.uint8))
    for image_id in truth.image_ids:
        (folder / image_id).write_bytes(encoded.tobytes())
    return folder


def figures(result: Evaluation) -> list[float | None]:
    coco, yolo, voc = result.map.coco, result.map.yolo, result.map.voc
    return [coco.ap, coco.ap50, yolo.ap, yolo.ap50, yolo.precision, yolo.recall, voc.ap50]
