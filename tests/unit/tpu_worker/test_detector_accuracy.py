"""Accuracy of real networks on real photographs, against figures measured by independent programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bmodel.layouts import LayoutName
from bmodel.model_file import load_spec
from bmodel.sidecar import ModelSpec
from tests.helpers.detector_runs import found, refs
from tests.helpers.reference_detection import suppressed
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices import Device, DeviceOptions, open_device
from tpu_worker.devices.protocol import Batch
from tpu_worker.values import ImageResult

Rows = NDArray[np.float32]

# What two right implementations differ by: rounding, and how an image is scaled.
TOLERANCE = 0.004


def results_on(
    photographs: Path, network: Path, spec: ModelSpec, options: DetectOptions
) -> list[ImageResult]:
    """What the network finds on the photographs, in the order of their numbers."""
    truth = json.loads((photographs / "instances.json").read_text())
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    device = open_device(DeviceOptions(name="cpu", spec=spec, model_path=network, threads=1))
    with Detector(device, options) as detector:
        return detector.detect(refs(photographs / "images" / names[number] for number in sorted(names)))


def coco_ap50_and_ap(photographs: Path, results: Sequence[ImageResult]) -> tuple[float, float]:
    """COCO's AP50 and AP by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(photographs / "instances.json"))
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
    return float(evaluation.stats[1]), float(evaluation.stats[0])


@pytest.mark.photographs
@pytest.mark.parametrize("reduced_jpeg", [False, True])
def test_raw_heads(photographs: Path, capsys: pytest.CaptureFixture[str], reduced_jpeg: bool) -> None:
    (row,) = [r for r in json.loads((photographs / "reference.json").read_text()) if "coco" in r["protocol"]]
    network = photographs / "yolov5n_3output_320_1b.onnx"
    spec = load_spec(network, anchors="yolov5")
    options = DetectOptions(reduced_jpeg=reduced_jpeg)
    ap50, ap = coco_ap50_and_ap(photographs, results_on(photographs, network, spec, options))
    capsys.readouterr()
    # Reduced decoding moves these few photographs by as much again.
    tolerance = 0.012 if reduced_jpeg else TOLERANCE
    assert ap == pytest.approx(row["ap"], abs=tolerance)
    assert ap50 == pytest.approx(row["ap50"], abs=tolerance)


@pytest.mark.photographs
@pytest.mark.parametrize(
    ("name", "layout", "ap50", "ap"),
    [
        ("yolov8n_640_1b", None, 0.7003, 0.5363),
        ("yolo11n_320_1b", None, 0.5946, 0.4447),
        ("yolox_nano_416_1b", "yolox", 0.6174, 0.4124),
    ],
)
def test_other_layouts(
    photographs: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    layout: LayoutName | None,
    ap50: float,
    ap: float,
) -> None:
    network = photographs / f"heads/{name}.onnx"
    spec = load_spec(network, layout=layout)
    found_ap50, found_ap = coco_ap50_and_ap(
        photographs, results_on(photographs, network, spec, DetectOptions())
    )
    capsys.readouterr()
    assert found_ap50 == pytest.approx(ap50, abs=TOLERANCE)
    assert found_ap == pytest.approx(ap, abs=TOLERANCE)


class OtherForm:
    """A device whose answers take another form on their way, under the spec of that form."""

    def __init__(self, device: Device, spec: ModelSpec, form: Callable[[Rows], Rows]) -> None:
        self.spec = spec
        self._device = device
        self._form = form

    def run(self, batch: Batch) -> list[Rows]:
        return [self._form(output) for output in self._device.run(batch)]

    def close(self) -> None:
        self._device.close()


def with_own_suppression(output: Rows) -> Rows:
    """(1, 84, cells) → (1, 300, 6): the network's end-to-end form, its suppression by plain numpy."""
    rows = output[0].T
    row, class_id = np.nonzero(rows[:, 4:] > 0.25)
    scores = rows[row, class_id + 4]
    corners = np.concatenate((rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2), axis=1)
    order = np.argsort(-scores, kind="stable")
    xyxy, classes, scores = corners[row][order], class_id[order].astype(np.int32), scores[order]
    kept = suppressed(xyxy, classes, iou=0.65, max_detections=300)
    final = np.zeros((1, 300, 6), np.float32)
    final[0, : len(kept)] = np.column_stack((xyxy, scores, classes))[kept]
    return final


@pytest.mark.photographs
@pytest.mark.parametrize(
    ("layout", "shape", "form"),
    [
        ("anchor-free", (1, 2100, 84), lambda output: output.swapaxes(1, 2).copy()),
        ("end-to-end", (1, 300, 6), with_own_suppression),
    ],
)
def test_forms_of_one_network_find_the_same(
    photographs: Path, layout: LayoutName, shape: tuple[int, ...], form: Callable[[Rows], Rows]
) -> None:
    network = photographs / "heads/yolo11n_320_1b.onnx"
    spec = load_spec(network)
    outputs = (spec.outputs[0].model_copy(update={"shape": shape}),)
    other = ModelSpec.model_validate(spec.model_dump() | {"outputs": outputs, "layout": layout})
    images = refs(sorted((photographs / "images").iterdir())[:12])
    options = DeviceOptions(name="cpu", spec=spec, model_path=network, threads=1)
    with Detector(open_device(options), DetectOptions(conf=0.25)) as detector:
        expected = detector.detect(images)
    with Detector(OtherForm(open_device(options), other, form), DetectOptions(conf=0.25)) as detector:
        results = detector.detect(images)
    assert sum(len(found(result)[0]) for result in expected) > 30
    for one, two in zip(expected, results, strict=True):
        for ours, theirs in zip(found(one), found(two), strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-3)
