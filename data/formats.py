"""The way in to label files: YOLO, COCO JSON, Pascal VOC XML and the competition's.

| format | line | read | written |
| --- | --- | --- | --- |
| `yolo` | `class cx cy w h confidence` | parse_yolo | format_labels |
| `yolo-conf-second` | `class confidence cx cy w h` | parse_yolo | format_labels |
| `truth` | `class cx cy w h` | parse_yolo | format_labels |
| `competition` | `class_name confidence left top right bottom [time_cost_ms]` | parse_named | format_labels |
| the VOC tool's truth | `class_name left top right bottom` | parse_named | format_voc_truth |
| COCO JSON | one file per set | read_coco | write_coco, format_coco_results |
| Pascal VOC XML | one file per image | read_voc | format_voc |

Every reader refuses what breaks its format with a FormatError: file, line, rule, value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.coco_json import CocoBoxes, format_coco_results, read_coco, write_coco
from data.competition_files import (
    NamedBoxes,
    class_index,
    format_competition,
    format_voc_truth,
    mean_time_ms,
    parse_named,
    plain_name,
    shown,
    whole_pixels,
)
from data.format_names import DetectionFormat, LabelFormat, WrittenFormat
from data.label_names import find_files, label_stems, match_labels, safe_relative_path, stem_of
from data.label_text import FormatError, OnProblem, raise_problem, read_text
from data.voc_xml import VocImage, format_voc, read_voc
from data.yolo_labels import YoloLabels, format_yolo, parse_yolo

__all__ = [
    "CocoBoxes",
    "DetectionFormat",
    "FormatError",
    "LabelFormat",
    "NamedBoxes",
    "OnProblem",
    "VocImage",
    "WrittenFormat",
    "YoloLabels",
    "class_index",
    "find_files",
    "format_coco_results",
    "format_competition",
    "format_labels",
    "format_voc",
    "format_voc_truth",
    "format_yolo",
    "label_stems",
    "match_labels",
    "mean_time_ms",
    "parse_named",
    "parse_yolo",
    "plain_name",
    "raise_problem",
    "read_coco",
    "read_text",
    "read_voc",
    "safe_relative_path",
    "shown",
    "stem_of",
    "whole_pixels",
    "write_coco",
]


def format_labels(
    label_format: LabelFormat,
    xyxy: NDArray[np.floating],
    confidence: NDArray[np.floating],
    class_id: NDArray[np.integer],
    size_hw: tuple[int, int],
    class_names: Sequence[str],
    time_ms: float | None,
) -> str:
    """Format one image's label file; empty for an image without detections and for `none`.

    xyxy: (N, 4) source pixels.
    confidence, class_id: (N,).
    time_ms: the image's inference time, written by `competition` alone, and left out if it is None.
    """
    if label_format == "none" or not len(class_id):
        return ""
    if label_format == "competition":
        return format_competition(xyxy, confidence, class_id, class_names, time_ms)
    return format_yolo(label_format, xyxy, confidence, class_id, size_hw)
