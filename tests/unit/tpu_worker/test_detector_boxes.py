"""Boxes of a detector: equal to the plain reference, in the pixels of the image as a viewer shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bmodel.errors import ConfigurationError
from tests.helpers.detector_runs import detect, found, refs, write_images
from tests.helpers.image_files import Pixels, encode, landscape, with_exif_orientation
from tests.helpers.pixel_device import PixelDevice
from tests.helpers.reference_detection import all_boxes, suppressed
from tests.helpers.small_specs import head_spec
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices.protocol import Batch
from tpu_worker.letterbox import Letterbox


def test_finds_what_the_plain_reference_finds(tmp_path: Path) -> None:
    images = write_images(tmp_path, 4)
    spec = head_spec()
    for image, result in zip(images, detect(images), strict=True):
        pixels = np.asarray(cv2.imread(image.path), np.uint8)
        letterbox = Letterbox.fit((pixels.shape[0], pixels.shape[1]), spec.input_hw)
        xyxy, scores = all_boxes(PixelDevice(spec).run(plain_input(pixels, letterbox)), 0, spec)
        anchors, classes = np.nonzero(scores > 0.2)
        order = np.argsort(-scores[anchors, classes].astype(np.float32), kind="stable")
        anchors, classes = anchors[order], classes[order]
        boxes = xyxy[anchors].astype(np.float32)
        kept = suppressed(boxes, np.asarray(classes, np.int32), iou=0.65, max_detections=300)
        in_source = letterbox.to_source(boxes)
        # What lies on the border alone is no detection.
        kept = [place for place in kept if (in_source[place, :2] < in_source[place, 2:]).all()]
        assert len(kept) > 3
        assert result.size_hw == pixels.shape[:2]
        np.testing.assert_allclose(found(result)[0], in_source[kept], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(found(result)[1], scores[anchors, classes][kept], rtol=1e-6)
        assert found(result)[2].tolist() == classes[kept].tolist()


def plain_input(pixels: Pixels, letterbox: Letterbox) -> Batch:
    height, width = letterbox.resized_hw
    canvas = np.full((*letterbox.input_hw, 3), 114, np.uint8)
    scaled = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    canvas[letterbox.top : letterbox.top + height, letterbox.left : letterbox.left + width] = scaled
    return np.ascontiguousarray(canvas[..., ::-1].transpose(2, 0, 1)[None] / 255, np.float32)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_lie_on_the_pixels_that_a_viewer_shows(tmp_path: Path, orientation: int) -> None:
    """An upright picture stored turned, with the EXIF tag that says so, gives the upright picture's boxes."""
    stored = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    turned = tmp_path / "turned.jpg"
    turned.write_bytes(with_exif_orientation(encode(".jpg", stored), orientation))
    shown = tmp_path / "shown.png"
    shown.write_bytes(encode(".png", np.asarray(cv2.imread(str(turned), cv2.IMREAD_COLOR), np.uint8)))
    as_tagged, as_shown = detect(refs([turned, shown]))
    assert as_tagged.size_hw == as_shown.size_hw == ((96, 144) if orientation < 5 else (144, 96))
    for value, expected in zip(found(as_tagged), found(as_shown), strict=True):
        np.testing.assert_array_equal(value, expected)
    raw = tmp_path / "raw.png"
    raw.write_bytes(
        encode(".png", np.asarray(cv2.imdecode(np.fromfile(turned, np.uint8), 1 | 128), np.uint8))
    )
    options = DetectOptions(conf=0.2, ignore_exif=True)
    ignoring, as_stored = detect(refs([turned, raw]), options)
    assert ignoring.size_hw == (96, 144)
    for value, expected in zip(found(ignoring), found(as_stored), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_reduced_decoding_keeps_boxes_in_the_full_image(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(encode(".jpg", landscape(801, 1203), cv2.IMWRITE_JPEG_QUALITY, 98))
    inputs, results = [], []
    for reduced_jpeg in (False, True):
        device = PixelDevice(head_spec())
        with Detector(device, DetectOptions(conf=0.2, reduced_jpeg=reduced_jpeg)) as detector:
            results += detector.detect(refs([path]))
        inputs += device.batches
    assert not np.array_equal(inputs[0], inputs[1])
    assert np.abs(inputs[0] - inputs[1]).max() < 0.02
    assert [result.size_hw for result in results] == [(801, 1203)] * 2
    for result in results:
        assert found(result)[0][:, 2:].max(axis=0).tolist() > [1000, 600]


def test_boxes_are_best_first_and_inside(tmp_path: Path) -> None:
    for result in detect(write_images(tmp_path), DetectOptions(max_detections=200)):
        xyxy, confidence, _ = found(result)
        assert 0 < len(xyxy) <= 200
        assert (np.diff(confidence) <= 0).all()
        assert result.size_hw is not None
        height, width = result.size_hw
        assert (xyxy >= 0).all()
        assert (xyxy <= (width, height, width, height)).all()
        assert (xyxy[:, :2] < xyxy[:, 2:]).all()


def test_the_candidate_limit_keeps_the_best(tmp_path: Path) -> None:
    images = write_images(tmp_path, 3)
    for limited, full in zip(
        detect(images, DetectOptions(max_candidates=1)), detect(images, DetectOptions()), strict=True
    ):
        assert len(found(limited)[0]) == 1
        assert found(limited)[1][0] == found(full)[1][0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"conf": 0.0}, "conf must be above 0 and below 1, got 0.0"),
        ({"conf": 1.0}, "conf must be"),
        ({"conf": float("nan")}, "conf must be"),
        ({"iou": -0.1}, "iou must be from 0 to 1, got -0.1"),
        ({"iou": 1.1}, "iou must be"),
        ({"max_detections": 0}, "max_detections must be at least 1, got 0"),
        ({"max_candidates": 0}, "max_candidates must be"),
        ({"prepare_threads": 0}, "prepare_threads must be"),
        ({"max_pixels": -1}, "max_pixels must be"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        DetectOptions(**options)
