"""Ways to suppress one image's candidates, to choose from: all take boxes sorted best first and return kept positions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.bench.serial_peer import CLASS_SHIFT_PX, IOU, MAX_DETECTIONS
from tpu_worker.nms import suppress

Boxes = NDArray[np.float32]
Classes = NDArray[np.int32]
Scores = NDArray[np.float32]
IN_USE = "vectorised numpy (in use)"
Rival = Callable[[Boxes, Scores, Classes], NDArray[np.intp]]


def rivals() -> dict[str, Rival]:
    """By name; numba only where it is installed."""
    found: dict[str, Rival] = {
        IN_USE: _numpy,
        "cv2, one class at a time": _cv2_per_class,
        "cv2, batched": _cv2_batched,
        "ONNX Runtime": _OnnxRuntime(),
    }
    with contextlib.suppress(ImportError):
        found["numba, sorted by class"] = _numba()
    return found


def _numpy(boxes: Boxes, scores: Scores, classes: Classes) -> NDArray[np.intp]:
    return suppress(boxes, classes, iou=IOU, max_detections=MAX_DETECTIONS)


def _xywh(boxes: Boxes) -> NDArray[np.float64]:
    wide = boxes.astype(np.float64)
    return np.concatenate((wide[:, :2], wide[:, 2:] - wide[:, :2]), 1)


def _cv2_per_class(boxes: Boxes, scores: Scores, classes: Classes) -> NDArray[np.intp]:
    xywh = _xywh(boxes)
    kept = []
    for class_id in np.unique(classes):
        (members,) = (classes == class_id).nonzero()
        chosen = cv2.dnn.NMSBoxes(xywh[members], scores[members], 0.0, IOU)
        kept.append(members[np.asarray(chosen, np.intp)])
    return np.sort(np.concatenate(kept))[:MAX_DETECTIONS] if kept else np.zeros(0, np.intp)


def _cv2_batched(boxes: Boxes, scores: Scores, classes: Classes) -> NDArray[np.intp]:
    kept = cv2.dnn.NMSBoxesBatched(_xywh(boxes), scores, classes, 0.0, IOU)  # type: ignore[arg-type]
    return np.sort(np.asarray(kept, np.intp))[:MAX_DETECTIONS]


class _OnnxRuntime:
    """NonMaxSuppression of one class, with the classes shifted apart."""

    def __init__(self) -> None:
        import onnxruntime
        from onnx import TensorProto, helper

        boxes = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, None, 4])
        scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, None])
        chosen = helper.make_tensor_value_info("chosen", TensorProto.INT64, [None, 3])
        most = helper.make_tensor("most", TensorProto.INT64, [1], [MAX_DETECTIONS])
        iou = helper.make_tensor("iou", TensorProto.FLOAT, [1], [IOU])
        node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou"], ["chosen"])
        graph = helper.make_graph([node], "nms", [boxes, scores], [chosen], [most, iou])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )

    def __call__(self, boxes: Boxes, scores: Scores, classes: Classes) -> NDArray[np.intp]:
        shifted = boxes + classes[:, None].astype(np.float32) * CLASS_SHIFT_PX
        (chosen,) = self._session.run(None, {"boxes": shifted[None], "scores": scores[None, None]})
        return np.sort(chosen[:, 2].astype(np.intp))


def _numba() -> Rival:
    import numba

    @numba.njit(nogil=True)
    def kept_of(boxes, order, starts, iou, keep):  # type: ignore[no-untyped-def]
        for group in range(len(starts) - 1):
            for a in range(starts[group], starts[group + 1]):
                i = order[a]
                if not keep[i]:
                    continue
                area = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
                for b in range(a + 1, starts[group + 1]):
                    j = order[b]
                    if not keep[j]:
                        continue
                    width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
                    height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
                    if width > 0.0 and height > 0.0:
                        shared = width * height
                        other = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
                        if shared / (area + other - shared) > iou:
                            keep[j] = False

    def by_class(boxes: Boxes, scores: Scores, classes: Classes) -> NDArray[np.intp]:
        order = np.argsort(classes, kind="stable")
        ends = np.flatnonzero(np.diff(classes[order])) + 1
        starts = np.concatenate(([0], ends, [len(order)]))
        keep = np.ones(len(boxes), np.bool_)
        kept_of(boxes.astype(np.float64), order, starts, IOU, keep)
        return np.flatnonzero(keep)[:MAX_DETECTIONS]

    return by_class
