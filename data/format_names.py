"""The names of the label formats; light, so that a command line can show them."""

from __future__ import annotations

from typing import Literal

DetectionFormat = Literal["yolo", "yolo-conf-second", "competition"]
"""What detections are read from."""
WrittenFormat = Literal["yolo", "yolo-conf-second", "truth", "competition"]
"""What label files are written in."""
LabelFormat = Literal[WrittenFormat, "none"]
TruthFormat = Literal["yolo", "coco", "voc", "voc-tool"]
"""What ground truth is read from and written in."""
