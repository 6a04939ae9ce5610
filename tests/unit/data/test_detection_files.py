"""Folders of detection files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.detection_files import read_detections
from data.formats import FormatError, LabelFormat, format_labels
from data.ground_truth import GroundTruth, Scored
from tests.helpers.label_sets import detections_near, random_truth, write_files

NAMES = ("car", "traffic light", "bike")
IMAGES = {"a.jpg": (100, 200), "x/b.png": (50, 80), "x/c.jpg": (10, 10)}


def written(truth: GroundTruth, detections: Scored, label_format: LabelFormat, folder: Path) -> Path:
    texts = {}
    for image, image_id in enumerate(truth.image_ids):
        rows = np.flatnonzero(detections.image == image)
        texts[image_id.replace(".jpg", ".txt")] = format_labels(
            label_format,
            detections.xyxy[rows],
            detections.confidence[rows],
            detections.class_id[rows],
            (480, 640),
            truth.class_names or (),
            20.0 + image,
        )
    return write_files(folder, texts)


@pytest.mark.parametrize("label_format", ["yolo", "yolo-conf-second", "competition"])
def test_written_detections_read_back(label_format: Any, tmp_path: Path) -> None:
    truth = random_truth(1)
    detections = detections_near(truth, 2)
    images = dict.fromkeys(truth.image_ids, (480, 640))
    folder = written(truth, detections, label_format, tmp_path)
    read = read_detections(folder, label_format, images=images, class_names=truth.class_names)
    assert np.array_equal(read.detections.image, detections.image)
    assert np.array_equal(read.detections.class_id, detections.class_id)
    assert np.array_equal(read.detections.confidence, detections.confidence)
    off = np.abs(read.detections.xyxy - detections.xyxy).max()
    assert off < (1.0 if label_format == "competition" else 1e-4)
    assert (read.files, read.unmatched, read.class_names) == (20, 0, truth.class_names)
    timed = [20.0 + image for image in np.unique(detections.image)]
    assert read.i_time_ms == (pytest.approx(np.mean(timed)) if label_format == "competition" else None)


def test_classes_that_only_the_files_know_come_behind(tmp_path: Path) -> None:
    folder = write_files(tmp_path, {"a.txt": "bus 0.9 1 1 5 5\ntraffic_light 0.8 1 1 5 5\nape 0.7 1 1 5 5\n"})
    read = read_detections(folder, "competition", images=dict.fromkeys(IMAGES), class_names=NAMES)
    assert read.class_names == (*NAMES, "ape", "bus")
    assert read.detections.class_id.tolist() == [4, 1, 3]


def test_detections_of_other_images_are_refused(tmp_path: Path) -> None:
    folder = write_files(tmp_path, {"z.txt": "car 0.9 1 1 5 5\n"})
    with pytest.raises(FormatError, match="label files must be named after the images"):
        read_detections(folder, "competition", images=dict.fromkeys(IMAGES))
