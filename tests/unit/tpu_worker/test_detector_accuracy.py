"""Accuracy of real networks on real photographs, against figures measured by independent programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bmodel.layouts import LayoutName
from bmodel.model_file import load_spec
from bmodel.sidecar import ModelSpec
from tests.helpers.detector_runs import found, refs
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices import DeviceOptions, open_device
from tpu_worker.values import ImageResult

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
