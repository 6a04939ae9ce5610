"""The YOLO protocol against what the authors' own val script printed for the photographs.

That script does not give every image the square the network was exported for: it pads each to a multiple of the
stride and half a stride more, so the same network is made for those shapes here.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from data.formats import read_coco
from data.ground_truth import Scored, read_ground_truth
from jobs.measure.yolo import yolo_ap

SIDE = 320
STRIDES = (8, 16, 32)
ANCHORS_WH = np.array(
    [
        [[10, 13], [16, 30], [33, 23]],
        [[30, 61], [62, 45], [59, 119]],
        [[116, 90], [156, 198], [373, 326]],
    ],
    np.float64,
)


@lru_cache(maxsize=32)
def network_for(model: Path, height: int, width: int) -> onnxruntime.InferenceSession:
    """The network with another input size: its fixed sizes stand in a few constants."""
    network = onnx.load(model)
    shapes = [(1, 3, 85, height // stride, width // stride) for stride in STRIDES]
    constants: dict[str, int | tuple[int, ...]] = {
        "/model.11/Constant": height // 16,
        "/model.11/Constant_1": width // 16,
        "/model.15/Constant": height // 8,
        "/model.15/Constant_1": width // 8,
        "/model.24/Constant": shapes[0],
        "/model.24/Constant_1": shapes[1],
        "/model.24/Constant_2": shapes[2],
    }
    for node in network.graph.node:
        if node.name in constants:
            tensor = node.attribute[0].t
            before = numpy_helper.to_array(tensor)
            after = np.array(constants[node.name], before.dtype).reshape(before.shape)
            tensor.CopyFrom(numpy_helper.from_array(after))
    for value, stride in [(network.graph.input[0], 1), *zip(network.graph.output, STRIDES, strict=True)]:
        dims = value.type.tensor_type.shape.dim
        dims[2].dim_value, dims[3].dim_value = height // stride, width // stride
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        network.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def canvas_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
    ratio = size_hw[0] / size_hw[1]
    sides = np.array([ratio, 1] if ratio < 1 else [1, 1 / ratio])
    height, width = np.ceil(sides * SIDE / 32 + 0.5).astype(int) * 32
    return int(height), int(width)


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-values.astype(np.float64))))


def decode(heads: list[NDArray[np.float32]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = []
    for head, stride, anchors in zip(heads, STRIDES, ANCHORS_WH, strict=True):
        value = sigmoid(head[0])
        row, column = np.mgrid[: value.shape[1], : value.shape[2]]
        centre = (value[..., :2] * 2 - 0.5 + np.stack([column, row], -1)) * stride
        half = (value[..., 2:4] * 2) ** 2 * anchors[:, None, None] / 2
        scores = value[..., 5:] * value[..., 4:5]
        rows.append(np.concatenate([centre - half, centre + half, scores], -1).reshape(-1, 84))
    table = np.concatenate(rows)
    return table[:, :4], table[:, 4:]


def detect(model: Path, path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Boxes in source pixels, confidences and classes at conf 0.001, NMS 0.65, 300 an image."""
    image = np.asarray(cv2.imread(str(path)), np.uint8)
    size_hw = (image.shape[0], image.shape[1])
    scale = SIDE / max(size_hw)
    inner = [int(np.ceil(side * scale)) for side in size_hw]
    height, width = canvas_hw(size_hw)
    top, left = ((outer - side) / 2 for outer, side in zip((height, width), inner, strict=True))
    small = cv2.resize(image, inner[::-1], interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.full((height, width, 3), 114, np.uint8)
    canvas[round(top - 0.1) :, round(left - 0.1) :][: inner[0], : inner[1]] = small
    batch = np.ascontiguousarray(canvas[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32) / 255
    xyxy, scores = decode(network_for(model, height, width).run(None, {"images": batch}))
    row, class_id = np.nonzero(scores > 0.001)
    boxes, confidence = xyxy[row], scores[row, class_id]
    apart = boxes + class_id[:, None] * 4096.0  # boxes of different classes never meet
    xywh = np.concatenate([apart[:, :2], apart[:, 2:] - apart[:, :2]], axis=1)
    kept = np.array(cv2.dnn.NMSBoxes(xywh.tolist(), confidence.tolist(), 0.001, 0.65), np.int64)
    kept = kept[np.argsort(-confidence[kept], kind="stable")][:300]
    ratio = np.array([inner[1] / size_hw[1], inner[0] / size_hw[0]] * 2)
    source = (boxes[kept] - np.array([left, top] * 2)) / ratio
    return source.clip(0, [size_hw[1], size_hw[0]] * 2), confidence[kept], class_id[kept]


@pytest.mark.photographs
def test_gives_what_the_authors_script_printed(photographs: Path) -> None:
    coco = read_coco(photographs / "instances.json")
    sizes = {name: (int(h), int(w)) for name, (h, w) in zip(coco.image_ids, coco.size_hw, strict=True)}
    truth = read_ground_truth(photographs / "labels", images=sizes, class_names=coco.category_names)
    model = photographs / "yolov5n_3output_320_1b.onnx"
    columns = [detect(model, photographs / "images" / name) for name in sizes]
    detections = Scored(
        image=np.repeat(np.arange(len(columns), dtype=np.int32), [len(found) for _, found, _ in columns]),
        class_id=np.concatenate([class_id for _, _, class_id in columns]).astype(np.int32),
        confidence=np.concatenate([confidence for _, confidence, _ in columns]).astype(np.float32),
        xyxy=np.concatenate([xyxy for xyxy, _, _ in columns]).astype(np.float32),
    )
    result = yolo_ap(truth, detections, coco.category_names)
    rows = json.loads((photographs / "reference.json").read_text())
    printed = next(row for row in rows if row["protocol"].startswith("yolo"))
    assert result.ap50 == pytest.approx(printed["ap50"], abs=0.001)
    assert result.ap == pytest.approx(printed["ap"], abs=0.001)
