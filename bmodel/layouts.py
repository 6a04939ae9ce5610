"""Output layouts by name, and which shapes each one has; how they decode stands in `tpu_worker/layouts`.

A layout is told by the shapes of input and outputs. Several may fit: `fitting_layouts` returns them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

from bmodel.errors import ConfigurationError

LayoutName = Literal["heads", "planes", "decoded", "anchor-free", "yolox", "end-to-end"]
Shape: TypeAlias = tuple[int, ...]
Size: TypeAlias = tuple[int, int]

# Strides of raw heads by their number.
STRIDES: Final = {3: (8, 16, 32), 4: (8, 16, 32, 64)}
# A box's columns before those of the classes: centre and size, and objectness where there is one.
BOX_COLUMNS: Final = 5
PLAIN_BOX_COLUMNS: Final = 4
# Strides of networks that have one box per cell, or three.
_GRIDS: Final = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
_ANCHORS_PER_CELL: Final = 3
# An end-to-end output: x1 y1 x2 y2 score class; exporters keep 100 to 1,000 rows.
_END_TO_END_COLUMNS: Final = 6
_MOST_ROWS: Final = 1000
_MOST_CLASSES: Final = 100_000


def parse_layout(text: str) -> LayoutName:
    """Check the option's value; raises ConfigurationError."""
    for layout in _CLASS_COUNTS:
        if layout == text:
            return layout
    raise ConfigurationError(f"--layout: must be {', '.join(_CLASS_COUNTS)}, got '{text}'")


def grid_strides(input_hw: Size, boxes: int) -> tuple[int, ...] | None:
    """Strides of the grids that together have `boxes` cells on the input; None where no usual set has."""
    for strides in _GRIDS:
        if cell_count(input_hw, strides) == boxes:
            return strides
    return None


def cell_count(input_hw: Size, strides: Sequence[int]) -> int | None:
    """Cells of all grids together; None where a stride does not divide the input."""
    if any(side % stride for side in input_hw for stride in strides):
        return None
    return sum((input_hw[0] // stride) * (input_hw[1] // stride) for stride in strides)


def classes_first(input_hw: Size, shape: Shape, classes: int) -> bool:
    """Whether an anchor-free output is (N, 4 + classes, boxes), or else (N, boxes, 4 + classes)."""
    return shape[1] == PLAIN_BOX_COLUMNS + classes and grid_strides(input_hw, shape[2]) is not None


def class_counts(layout: LayoutName, input_hw: Size, outputs: Sequence[Shape]) -> Sequence[int]:
    """Numbers of classes with which outputs of these shapes have a layout; empty where it does not fit."""
    counts = _CLASS_COUNTS[layout](input_hw, outputs) if outputs else ()
    return counts if isinstance(counts, range) else tuple(count for count in counts if count > 0)


def fitting_layouts(
    input_hw: Size, outputs: Sequence[Shape], classes: int | None
) -> dict[LayoutName, Sequence[int]]:
    """Layouts that the shapes fit, each with the numbers of classes it would then have.

    classes: the number of classes where it is known, which rules out layouts with another number.
    """
    found: dict[LayoutName, Sequence[int]] = {}
    for layout in _CLASS_COUNTS:
        counts = class_counts(layout, input_hw, outputs)
        if layout == "decoded" and not (counts and _is_usual(input_hw, outputs[0][1])):
            continue
        if counts and (classes is None or classes in counts):
            found[layout] = counts
    return found


def _heads(_input_hw: Size, outputs: Sequence[Shape]) -> Sequence[int]:
    alike = len({shape[-1] for shape in outputs if shape}) == 1 and {len(shape) for shape in outputs} == {5}
    return [outputs[0][-1] - BOX_COLUMNS] if alike and len(outputs) in STRIDES else ()


def _planes(_input_hw: Size, outputs: Sequence[Shape]) -> Sequence[int]:
    alike = {len(shape) for shape in outputs} == {4} and len({shape[1] for shape in outputs}) == 1
    if not alike or len(outputs) not in STRIDES or outputs[0][1] % _ANCHORS_PER_CELL:
        return ()
    return [outputs[0][1] // _ANCHORS_PER_CELL - BOX_COLUMNS]


def _decoded(_input_hw: Size, outputs: Sequence[Shape]) -> Sequence[int]:
    return [outputs[0][2] - BOX_COLUMNS] if _is_flat(outputs) else ()


def _anchor_free(input_hw: Size, outputs: Sequence[Shape]) -> Sequence[int]:
    if not _is_flat(outputs):
        return ()
    _, second, third = outputs[0]
    return [
        columns - PLAIN_BOX_COLUMNS
        for boxes, columns in ((third, second), (second, third))
        if grid_strides(input_hw, boxes) is not None
    ]


def _yolox(input_hw: Size, outputs: Sequence[Shape]) -> Sequence[int]:
    is_grid = _is_flat(outputs) and grid_strides(input_hw, outputs[0][1]) is not None
    return [outputs[0][2] - BOX_COLUMNS] if is_grid else ()


def _end_to_end(_input_hw: Size, outputs: Sequence[Shape]) -> Sequence[int]:
    fits = _is_flat(outputs) and outputs[0][2] == _END_TO_END_COLUMNS and outputs[0][1] <= _MOST_ROWS
    return range(1, _MOST_CLASSES + 1) if fits else ()


def _is_flat(outputs: Sequence[Shape]) -> bool:
    return len(outputs) == 1 and len(outputs[0]) == 3


def _is_usual(input_hw: Size, boxes: int) -> bool:
    """Whether a decoded output has one box per cell, as YOLOv6, or three, as YOLOv5 and YOLOv7."""
    return any(grid_strides(input_hw, boxes // each) and boxes % each == 0 for each in (1, _ANCHORS_PER_CELL))


_CLASS_COUNTS: Final[dict[LayoutName, Callable[[Size, Sequence[Shape]], Sequence[int]]]] = {
    "heads": _heads,
    "planes": _planes,
    "decoded": _decoded,
    "anchor-free": _anchor_free,
    "yolox": _yolox,
    "end-to-end": _end_to_end,
}
