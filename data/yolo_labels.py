"""YOLO labels: `class cx cy w h`, one box per line, as fractions of the image's width and height.

Detections carry a confidence, last (`class cx cy w h confidence`) or second (`class confidence cx cy w h`): the two
look alike, so the caller says which one it is. Read through `data.formats`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.label_text import (
    OnProblem,
    Row,
    Rule,
    check_rules,
    is_finite_number,
    keep_rows_of_length,
    numbers,
    raise_problem,
    split_rows,
)

YoloLayout = Literal["yolo", "yolo-conf-second", "truth"]

LAYOUTS: Final[dict[YoloLayout, str]] = {
    "yolo": "class cx cy w h confidence",
    "yolo-conf-second": "class confidence cx cy w h",
    "truth": "class cx cy w h",
}
MAX_CLASSES: Final = 1 << 16
"""No detector has more; a larger number is not a class."""
# Where class, cx, cy, w, h (and confidence) stand in a line.
_COLUMNS: Final[dict[YoloLayout, list[int]]] = {
    "yolo": [0, 1, 2, 3, 4, 5],
    "yolo-conf-second": [0, 2, 3, 4, 5, 1],
    "truth": [0, 1, 2, 3, 4],
}
# Truth lies inside its image, up to rounding; detectors that do not clip go beyond it, but not this far.
_LIMITS: Final = {"yolo": (-1.0, 3.0), "yolo-conf-second": (-1.0, 3.0), "truth": (-1e-6, 1 + 1e-6)}


@dataclass(frozen=True, kw_only=True, slots=True)
class YoloLabels:
    """The boxes of one image.

    class_id: (N,) int32.
    confidence: (N,) float64, 1 for truth.
    cxcywh: (N, 4) float64, centre, width and height as fractions of the image's width and height.
    """

    class_id: NDArray[np.int32]
    confidence: NDArray[np.float64]
    cxcywh: NDArray[np.float64]

    def xyxy(self, size_hw: tuple[int, int]) -> NDArray[np.float64]:
        """(N, 4) float64: left, top, right, bottom in pixels of an image of this size."""
        wh = np.array([size_hw[1], size_hw[0]], np.float64)
        centre, half = self.cxcywh[:, :2] * wh, self.cxcywh[:, 2:] * wh / 2
        return np.concatenate([centre - half, centre + half], axis=1)


def parse_yolo(
    text: str,
    layout: YoloLayout,
    *,
    place: str,
    class_count: int | None = None,
    on_problem: OnProblem = raise_problem,
) -> YoloLabels:
    """Read a label file's text; `place` names the file in errors, `class_count` limits the class ids.

    Bad lines go to `on_problem`, which raises FormatError by default.
    """
    rows = split_rows(text)
    order = _COLUMNS[layout]
    rows = keep_rows_of_length(rows, [len(order)], layout=LAYOUTS[layout], place=place, on_problem=on_problem)
    rows, table = numbers(rows, slice(None), place=place, on_problem=on_problem)
    table = table.reshape(-1, len(order))[:, order]
    obeys = check_rules(rows, _rules(table, layout, class_count), place=place, on_problem=on_problem)
    return _labels(table[obeys])


def _labels(table: NDArray[np.float64]) -> YoloLabels:
    return YoloLabels(
        class_id=table[:, 0].astype(np.int32),
        cxcywh=table[:, 1:5],
        confidence=table[:, 5] if table.shape[1] > 5 else np.ones(len(table)),
    )


def _rules(table: NDArray[np.float64], layout: YoloLayout, class_count: int | None) -> list[Rule]:
    class_id = table[:, 0]
    highest = (MAX_CLASSES if class_count is None else class_count) - 1
    low, high = _LIMITS[layout]
    rules = [
        Rule(
            holds=(class_id == np.floor(class_id)) & (class_id >= 0) & (class_id <= highest),
            text=f"class must be a whole number from 0 to {highest}",
            values=class_id,
        )
    ]
    for column, name in enumerate(("cx", "cy", "w", "h"), start=1):
        least = 0.0 if name in "wh" else low
        rules.append(
            Rule(
                holds=(table[:, column] >= least) & (table[:, column] <= high),
                text=f"{name} must be a fraction of the image from {least:g} to {high:g}",
                values=table[:, column],
            )
        )
    if table.shape[1] > 5:
        confidence = table[:, 5]
        holds = (confidence >= 0) & (confidence <= 1)
        rules.append(Rule(holds=holds, text="confidence must lie in 0 to 1", values=confidence))
    return rules


def format_yolo(
    layout: YoloLayout,
    xyxy: NDArray[np.floating],
    confidence: NDArray[np.floating],
    class_id: NDArray[np.integer],
    size_hw: tuple[int, int],
) -> str:
    """The text of an image's label file; boxes are (N, 4) in source pixels.

    Nine significant digits: enough to read every confidence back as the same float32, so that an order by
    confidence survives, and boxes to a thousandth of a thousandth of a pixel.
    """
    count = len(class_id)
    height, width = size_hw
    boxes = xyxy.astype(np.float64) / np.array([width, height, width, height], np.float64)
    table = np.empty((count, 6))
    table[:, 0] = class_id
    table[:, 1:3] = (boxes[:, :2] + boxes[:, 2:]) / 2
    table[:, 3:5] = boxes[:, 2:] - boxes[:, :2]
    table[:, 5] = confidence
    order = _COLUMNS[layout]
    written = table[:, :5] if layout == "truth" else table
    if layout == "yolo-conf-second":
        written = table[:, [0, 5, 1, 2, 3, 4]]
    line = "%d" + " %.9g" * (len(order) - 1) + "\n"
    return (line * count) % tuple(written.ravel().tolist())


def looks_like_yolo_truth(row: Row) -> bool:
    """Whether a line is meant as `class cx cy w h` rather than `class_name left top right bottom`.

    A number comes first, and no number above 1 behind it; whether it is a good line shows when it is read.
    """
    return row.fields[0].isdecimal() and not any(_is_above_one(field) for field in row.fields[1:])


def _is_above_one(field: str) -> bool:
    return is_finite_number(field) and float(field) > 1 + 1e-6
