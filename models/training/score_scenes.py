"""COCO figures of a network on scenes of a series: decoding, suppression and pycocotools, apart from the job's own.

Training watches itself with this; the figures that the project publishes come from the job.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.scenes import CLASS_NAMES
from data.scenes.series import SIZES_HW
from models.training.augment import centre
from models.training.batches import to_input
from models.training.scene_store import SIDE_PX, SceneStore

CONFIDENCE = 0.001
OVERLAP = 0.65
CANDIDATES = 1500
MOST_BOXES = 300

Boxes = NDArray[np.float32]
Network = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """COCO's AP over all sizes and for small boxes (under 32x32 pixels of the source), and AP50 per class."""

    ap: float
    ap50: float
    ap_small: float
    ap50_by_class: tuple[float, ...]


def decode_heads(heads: list[Tensor], anchors_px: Tensor, strides: tuple[int, ...]) -> list[Boxes]:
    """Raw heads of a batch → (M, 6) left, top, right, bottom, confidence, class per image, before suppression."""
    rows = []
    for level, head in enumerate(heads):
        squashed = head.float().sigmoid()
        height, width = head.shape[2:4]
        grid = torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"), 2)
        centres = (squashed[..., :2] * 2 - 0.5 + grid) * strides[level]
        half = (squashed[..., 2:4] * 2) ** 2 * anchors_px[level].view(1, -1, 1, 1, 2) / 2
        scores = squashed[..., 4:5] * squashed[..., 5:]
        rows.append(torch.cat((centres - half, centres + half, scores), 4).flatten(1, 3))
    return [_candidates(image) for image in torch.cat(rows, 1)]


def _candidates(rows: Tensor) -> Boxes:
    place, class_id = (rows[:, 4:] > CONFIDENCE).nonzero(as_tuple=True)
    confidence = rows[place, 4 + class_id]
    best = confidence.argsort(descending=True)[:CANDIDATES]
    place, class_id = place[best], class_id[best]
    found = torch.cat((rows[place, :4], confidence[best, None], class_id[:, None].float()), 1)
    numbers: Boxes = found.numpy()
    return numbers


def suppress(boxes: Boxes) -> Boxes:
    """Keep a box unless a better one of its class overlaps it by more than OVERLAP; best first."""
    shifted = boxes[:, :4].astype(np.float64) + boxes[:, 5:6] * 10_000.0
    area = (shifted[:, 2] - shifted[:, 0]) * (shifted[:, 3] - shifted[:, 1])
    alive = np.ones(len(boxes), np.bool_)
    kept = []
    for index in range(len(boxes)):
        if not alive[index]:
            continue
        kept.append(index)
        if len(kept) == MOST_BOXES:
            break
        low = np.maximum(shifted[index, :2], shifted[index:, :2])
        high = np.minimum(shifted[index, 2:], shifted[index:, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        alive[index:] &= shared <= OVERLAP * (area[index] + area[index:] - shared)
    return boxes[kept]


def score(
    network: Network, anchors_px: Tensor, strides: tuple[int, ...], store: SceneStore, count: int
) -> Figures:
    """Score a network on the store's first `count` scenes at SIDE_PX; boxes are compared in source pixels.

    anchors_px: (levels, A, 2) in input pixels.
    """
    images, truths, found = [], [], []
    for first in range(0, count, 8):
        numbers = range(first, min(first + 8, count))
        squares = [centre(store[number]) for number in numbers]
        with torch.inference_mode():
            heads = network(to_input(np.stack([square for square, _ in squares])))
        decoded = decode_heads(heads, anchors_px, strides)
        for number, boxes, (_, corner) in zip(numbers, decoded, squares, strict=True):
            scale = max(SIZES_HW[number % len(SIZES_HW)]) / SIDE_PX
            kept = suppress(boxes)
            kept[:, :4] = (kept[:, :4] - np.array((*corner, *corner), np.float32)) * scale
            images.append({"id": number + 1})
            truths += [_truth(number + 1, row, scale) for row in store[number].boxes]
            found += [_detection(number + 1, row) for row in kept]
    return evaluate_coco(images, truths, found)


def _truth(image: int, row: Boxes, scale: float) -> dict[str, Any]:
    left, top, right, bottom = (float(value) * scale for value in row[1:])
    box = [left, top, right - left, bottom - top]
    return {
        "image_id": image,
        "category_id": int(row[0]) + 1,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 0,
    }


def _detection(image: int, row: Boxes) -> dict[str, Any]:
    left, top, right, bottom, confidence, class_id = (float(value) for value in row)
    box = [left, top, right - left, bottom - top]
    return {"image_id": image, "category_id": int(class_id) + 1, "bbox": box, "score": confidence}


def evaluate_coco(
    images: list[dict[str, Any]], truths: list[dict[str, Any]], found: list[dict[str, Any]]
) -> Figures:
    """Compute the figures with pycocotools, the reference."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASS_NAMES)]
    numbered = [truth | {"id": index + 1} for index, truth in enumerate(truths)]
    if not found:
        return Figures(ap=0.0, ap50=0.0, ap_small=0.0, ap50_by_class=(0.0,) * len(CLASS_NAMES))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": images, "categories": categories, "annotations": numbered, "info": {}}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][0, :, :, 0, -1]
    return Figures(
        ap=float(evaluation.stats[0]),
        ap50=float(evaluation.stats[1]),
        ap_small=float(evaluation.stats[3]),
        ap50_by_class=tuple(float(column[column > -1].mean()) for column in precision.T),
    )
