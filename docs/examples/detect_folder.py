"""Detections on the images of a folder, printed as lines: one detector in this process, no Ray and no run folder.

python docs/examples/detect_folder.py FOLDER models/sample_yolov7tiny_416.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

from bmodel.model_file import load_spec
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices import DeviceOptions, open_device
from tpu_worker.values import ImageRef


def main(folder: Path, model: Path) -> None:
    """Print `image class confidence x1 y1 x2 y2` per box, in pixels of the image, or why an image has none."""
    images = [
        ImageRef(index=index, image_id=path.name, path=str(path))
        for index, path in enumerate(sorted(folder.glob("*.jpg")))
    ]
    spec = load_spec(model)
    # `name="sail"` or "libbmrt" runs a BModel on a card; `device_id` is the card's number.
    device = open_device(DeviceOptions(name="cpu", spec=spec, model_path=model))
    with Detector(device, DetectOptions(conf=0.25)) as detector:
        for result in detector.detect(images):
            if result.detections is None:
                print(result.image.image_id, "failed:", result.failure and result.failure.reason)
                continue
            found = result.detections
            for box, confidence, class_id in zip(found.xyxy, found.confidence, found.class_id, strict=True):
                corners = " ".join(f"{value:.1f}" for value in box)
                print(result.image.image_id, spec.class_names[class_id], f"{confidence:.2f}", corners)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
