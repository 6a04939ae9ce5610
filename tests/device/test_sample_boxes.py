"""The sample's compiled network finds on the simulator what its ONNX twin finds on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bmodel.model_file import load_spec
from tests.helpers.paths import ROOT
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices import DeviceName, DeviceOptions, open_device
from tpu_worker.values import ImageRef, ImageResult

MODEL = ROOT / "bmodel" / "sample_yolov7tiny_416_fp32_1b.bmodel"
IMAGES = sorted((ROOT / "data" / "sample" / "images").glob("*.jpg"))[:2]


def detect(name: DeviceName, images: list[Path]) -> list[ImageResult]:
    device = open_device(DeviceOptions(name=name, spec=load_spec(MODEL), model_path=MODEL, threads=1))
    refs = [ImageRef(index=n, image_id=path.name, path=str(path)) for n, path in enumerate(images)]
    with Detector(device, DetectOptions(conf=0.01)) as detector:
        return detector.detect(refs)


def test_fp32_on_the_chip_finds_the_cpus_boxes(simulator: None) -> None:
    assert len(IMAGES) == 2
    for one, other in zip(detect("cpu", IMAGES), detect("simulator", IMAGES), strict=True):
        assert one.detections is not None
        assert other.detections is not None
        assert len(one.detections) > 5
        np.testing.assert_array_equal(other.detections.class_id, one.detections.class_id)
        np.testing.assert_allclose(other.detections.xyxy, one.detections.xyxy, atol=0.05)
        np.testing.assert_allclose(other.detections.confidence, one.detections.confidence, atol=1e-4)
