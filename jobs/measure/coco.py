"""COCO's protocol, by either of two libraries whose figures agree: hotcoco (fast) or pycocotools (the reference)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.ground_truth import GroundTruth, Scored
from jobs.config.choices import Evaluator
from jobs.measure.mean_ap_values import CocoAp, CocoClassAp

Precision = NDArray[np.float64]
Entries = list[dict[str, Any]]

# Positions along the libraries' axes of IoU thresholds (0.50, 0.55 … 0.95), areas, and detections per image.
_IOU_50, _IOU_75 = 0, 5
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
_AT_MOST_100 = 2


def coco_ap(truth: GroundTruth, detections: Scored, names: Sequence[str], evaluator: Evaluator) -> CocoAp:
    """The figures of COCO's leaderboard, and AP per class; at most 100 detections per class and image count."""
    single = np.unique(truth.class_id[~truth.crowd], return_counts=True)
    if not len(single[0]):
        return CocoAp(
            ap=None, ap50=None, ap75=None, ap_small=None, ap_medium=None, ap_large=None, per_class={}
        )
    precision = _precision(truth, _of_classes(detections, single[0]), single[0], evaluator)
    at_all = precision[:, :, :, _ALL]
    per_class = {
        names[class_id]: CocoClassAp(
            ap=_mean(at_all[:, :, row]), ap50=_mean(at_all[_IOU_50, :, row]), objects=int(count)
        )
        for row, (class_id, count) in enumerate(zip(*single, strict=True))
    }
    return CocoAp(
        ap=_mean(at_all),
        ap50=_mean(at_all[_IOU_50]),
        ap75=_mean(at_all[_IOU_75]),
        ap_small=_mean(precision[:, :, :, _SMALL]),
        ap_medium=_mean(precision[:, :, :, _MEDIUM]),
        ap_large=_mean(precision[:, :, :, _LARGE]),
        per_class=per_class,
    )


def _of_classes(detections: Scored, class_ids: NDArray[np.int32]) -> Scored:
    """The detections of classes that have objects: the others enter no average."""
    kept = np.isin(detections.class_id, class_ids)
    return Scored(
        image=detections.image[kept],
        class_id=detections.class_id[kept],
        confidence=detections.confidence[kept],
        xyxy=detections.xyxy[kept],
    )


def _mean(precision: Precision) -> float | None:
    """Mean over what was measured; the libraries mark the rest with -1."""
    measured = precision[precision > -1]
    return float(measured.mean()) if len(measured) else None


def _precision(
    truth: GroundTruth, detections: Scored, class_ids: NDArray[np.int32], evaluator: Evaluator
) -> Precision:
    """(IoU thresholds, recall points, classes, areas) precision at 100 detections, -1 where there is no object."""
    evaluate = _with_hotcoco if evaluator == "hotcoco" else _with_pycocotools
    with contextlib.redirect_stdout(io.StringIO()):  # both libraries report what they do; nobody asked
        precision = evaluate(truth, detections, class_ids)
    return np.asarray(precision, np.float64)[..., _AT_MOST_100]


def _with_hotcoco(truth: GroundTruth, detections: Scored, class_ids: NDArray[np.int32]) -> Precision:
    from hotcoco import COCO, COCOeval

    kept = np.isin(truth.class_id, class_ids)
    columns = truth.box_image[kept] + 1, truth.class_id[kept], _xywh(truth.xyxy[kept])
    images, categories = _images(truth), _categories(class_ids)
    real = COCO.from_arrays(
        images, categories, *columns, area=truth.area[kept], iscrowd=truth.crowd[kept].astype(np.int64)
    )
    columns = detections.image + 1, detections.class_id, _xywh(detections.xyxy)
    table = np.column_stack([columns[0], columns[2], detections.confidence.astype(np.float64), columns[1]])
    evaluation = COCOeval(real, real.load_res(table), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    result = evaluation.eval
    if result is None:
        raise RuntimeError("hotcoco accumulated nothing")
    precision: Precision = result["precision"]
    return precision


def _with_pycocotools(truth: GroundTruth, detections: Scored, class_ids: NDArray[np.int32]) -> Precision:
    from pycocotools.cocoeval import COCOeval

    kept = np.isin(truth.class_id, class_ids)
    images, categories = _images(truth), _categories(class_ids)
    real = _data_set(
        images,
        categories,
        image_id=truth.box_image[kept] + 1,
        category_id=truth.class_id[kept],
        bbox=_xywh(truth.xyxy[kept]),
        area=truth.area[kept],
        iscrowd=truth.crowd[kept].astype(np.int64),
    )
    boxes = _xywh(detections.xyxy)
    detected = _data_set(
        images,
        categories,
        image_id=detections.image + 1,
        category_id=detections.class_id,
        bbox=boxes,
        area=boxes[:, 2] * boxes[:, 3],
        score=detections.confidence.astype(np.float64),
        iscrowd=np.zeros(len(boxes), np.int64),
    )
    evaluation = COCOeval(real, detected, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision: Precision = evaluation.eval["precision"]
    return precision


def _data_set(images: Entries, categories: Entries, **columns: NDArray[Any]) -> Any:
    """Make pycocotools' data set of columns, without the file it would rather read."""
    from pycocotools.coco import COCO

    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    made = COCO()
    made.dataset = {
        "images": images,
        "categories": categories,
        "annotations": [
            {"id": number, **dict(zip(columns, row, strict=True))} for number, row in enumerate(rows, 1)
        ],
    }
    made.createIndex()
    return made


def _images(truth: GroundTruth) -> Entries:
    return [{"id": number} for number in range(1, len(truth.image_ids) + 1)]


def _categories(class_ids: NDArray[np.int32]) -> Entries:
    return [{"id": class_id, "name": str(class_id)} for class_id in class_ids.tolist()]


def _xywh(xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    boxes = xyxy.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
