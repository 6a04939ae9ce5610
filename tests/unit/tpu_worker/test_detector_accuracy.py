"""Accuracy of a real network on real photographs, against figures measured by independent programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bmodel.sidecar import HeadSpec, ModelSpec, TensorSpec
from tests.helpers.detector_runs import found, refs
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices.protocol import Batch


class OnnxDevice:
    """The reference network on ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        anchors = (
            ((10, 13), (16, 30), (33, 23)),
            ((30, 61), (62, 45), (59, 119)),
            ((116, 90), (156, 198), (373, 326)),
        )
        self.spec = ModelSpec(
            name="reference",
            file_sha256="0" * 64,
            input=TensorSpec(name="images", shape=(1, 3, 320, 320)),
            outputs=tuple(TensorSpec(name=f"p{n}", shape=(1, 3, 320 >> n, 320 >> n, 85)) for n in (3, 4, 5)),
            layout="heads",
            heads=tuple(HeadSpec(output=n, stride=8 << n, anchors_wh=wh) for n, wh in enumerate(anchors)),
            class_names=tuple(str(n) for n in range(80)),
        )

    def run(self, batch: Batch) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self._session.run(None, {"images": batch})
        return outputs

    def close(self) -> None:
        pass


@pytest.mark.photographs
@pytest.mark.parametrize("reduced_jpeg", [False, True])
def test_accuracy_on_photographs(
    photographs: Path, capsys: pytest.CaptureFixture[str], reduced_jpeg: bool
) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    (row,) = [r for r in json.loads((photographs / "reference.json").read_text()) if "coco" in r["protocol"]]
    truth = COCO(str(photographs / "instances.json"))
    images = refs(photographs / "images" / truth.imgs[number]["file_name"] for number in sorted(truth.imgs))
    device = OnnxDevice(photographs / "yolov5n_3output_320_1b.onnx")
    with Detector(device, DetectOptions(reduced_jpeg=reduced_jpeg)) as detector:
        results = detector.detect(images)
    categories = sorted(truth.getCatIds())
    rows = [
        {
            "image_id": number,
            "category_id": categories[class_id],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": confidence,
        }
        for number, result in zip(sorted(truth.imgs), results, strict=True)
        for (x1, y1, x2, y2), confidence, class_id in zip(*(a.tolist() for a in found(result)), strict=True)
    ]
    evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    ap, ap50 = evaluation.stats[:2]
    # Reduced decoding moves these few photographs by as much again.
    tolerance = 0.012 if reduced_jpeg else 0.004
    assert ap == pytest.approx(row["ap"], abs=tolerance)
    assert ap50 == pytest.approx(row["ap50"], abs=tolerance)
