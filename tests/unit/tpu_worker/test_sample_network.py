"""The committed sample network: its file, its batch, and how well it finds what is on the sample set."""

from __future__ import annotations

import numpy as np

from bmodel.files import file_sha256
from bmodel.model_file import load_spec
from bmodel.sidecar import read_sidecar, sidecar_path
from data.formats import read_coco
from data.ground_truth import Scored, read_coco_truth
from data.scenes import CLASS_NAMES
from jobs.measure.mean_ap import evaluate
from tests.helpers.detector_runs import found
from tests.helpers.paths import ROOT
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices import DeviceOptions, open_device
from tpu_worker.values import ImageRef

PROJECT = ROOT
NETWORK = PROJECT / "models" / "sample_yolov7tiny_416.onnx"
SAMPLE = PROJECT / "data" / "sample"


def test_the_file_is_small_and_the_one_its_sidecar_describes() -> None:
    spec = read_sidecar(sidecar_path(NETWORK))
    assert NETWORK.stat().st_size <= 6_000_000
    assert spec.file_sha256 == file_sha256(NETWORK)
    assert spec.class_names == CLASS_NAMES
    assert spec.input_hw == (416, 416)
    assert spec.licence == "Apache-2.0"
    assert [head.stride for head in spec.heads] == [8, 16, 32]


def test_any_number_of_images_at_a_time_gives_the_same_heads() -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(NETWORK), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(2).random((4, 3, 416, 416), np.float32)
    together = session.run(None, {"images": images})
    for number in range(4):
        alone = session.run(None, {"images": images[number : number + 1]})
        for heads, head in zip(together, alone, strict=True):
            assert np.allclose(heads[number], head[0], atol=1e-3)


def test_accuracy_on_the_sample_set() -> None:
    truth_path = SAMPLE / "instances.json"
    coco = read_coco(truth_path)
    sizes = {
        name: (int(h), int(w)) for name, (h, w) in zip(coco.image_ids, coco.size_hw.tolist(), strict=True)
    }
    truth = read_coco_truth(coco, truth_path, images=sizes, class_names=CLASS_NAMES)
    images = [
        ImageRef(index=number, image_id=name, path=str(SAMPLE / "images" / name))
        for number, name in enumerate(coco.image_ids)
    ]
    options = DeviceOptions(name="cpu", spec=load_spec(NETWORK), model_path=NETWORK, threads=2)
    with Detector(open_device(options), DetectOptions()) as detector:
        boxes = [found(result) for result in detector.detect(images)]
    detections = Scored(
        image=np.repeat(np.arange(len(boxes), dtype=np.int32), [len(xyxy) for xyxy, _, _ in boxes]),
        class_id=np.concatenate([class_id for _, _, class_id in boxes]),
        confidence=np.concatenate([confidence for _, confidence, _ in boxes]),
        xyxy=np.concatenate([xyxy for xyxy, _, _ in boxes]),
    )
    figures = evaluate(truth, detections).coco
    measured = np.array((figures.ap50, figures.ap, figures.ap_small), np.float64)
    assert (measured >= (0.80, 0.48, 0.35)).all()
    # And they are the published ones, up to what another build of the runtime changes.
    assert np.allclose(measured, (0.900, 0.580, 0.376), atol=0.01)
