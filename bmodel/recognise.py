"""Which layout outputs have: named by somebody, or the only one that shapes and number of classes allow."""

from __future__ import annotations

from collections.abc import Sequence

from bmodel.errors import ConfigurationError, ModelFileError
from bmodel.layouts import LayoutName, Shape, Size, class_counts, fitting_layouts

# YOLOv8's raw planes hold 4 sides of 16 bins before the classes.
_BINS = 64


def recognise(
    input_hw: Size, outputs: Sequence[Shape], *, layout: LayoutName | None, classes: int | None, place: str
) -> tuple[LayoutName, int]:
    """Return the layout and the number of classes.

    layout, classes: what is known of them. Raises ConfigurationError naming the layouts where several fit, or asking
    for the class names where they alone tell; ModelFileError where none fits.
    """
    found = fitting_layouts(input_hw, outputs, None)
    if layout is not None:
        found = {layout: counts} if (counts := class_counts(layout, input_hw, outputs)) else {}
    if not found:
        raise ModelFileError(f"{_why_nothing_fits(outputs, layout)}, in '{place}'")
    fitting = {name: counts for name, counts in found.items() if classes is None or classes in counts}
    if not fitting:
        counts = sorted({count for counts in found.values() for count in counts})
        raise ConfigurationError(
            f"class names: the network has {_either(counts)} classes, got {classes} names for '{place}'"
        )
    _check_one(fitting, outputs, classes, place)
    (name, counts), *_ = fitting.items()
    if layout is None and name == "planes" and classes is None and outputs[0][1] > _BINS:
        raise ConfigurationError(
            f"layout: outputs {_shown(outputs)} may be planes of {counts[0]} classes, or raw heads of YOLOv8, which are "
            f"not read; say --layout planes, or give the class names, for '{place}'"
        )
    return name, counts[0] if classes is None else classes


def _check_one(
    fitting: dict[LayoutName, Sequence[int]], outputs: Sequence[Shape], classes: int | None, place: str
) -> None:
    if len(fitting) > 1:
        # The most telling first: an end-to-end output has any number of classes.
        readings = [f"{name} ({_either(counts)} classes)" for name, counts in fitting.items()]
        raise ConfigurationError(
            f"layout: outputs {_shown(outputs)} fit {' and '.join(readings)}; choose one by --layout for '{place}'"
        )
    (name, counts), *_ = fitting.items()
    if classes is None and len(counts) > 1:
        raise ConfigurationError(
            f"class names: outputs {_shown(outputs)} as {name} may have {_either(counts)} classes; give --class-names "
            f"for '{place}'"
        )


def _either(counts: Sequence[int]) -> str:
    return "any number of" if len(counts) > 2 else " or ".join(map(str, counts))


def _shown(outputs: Sequence[Shape]) -> str:
    return ", ".join(map(str, outputs))


def _why_nothing_fits(outputs: Sequence[Shape], layout: LayoutName | None) -> str:
    shown = _shown(outputs)
    if layout is not None:
        return f"layout: outputs {shown} do not fit {layout}"
    ranks = sorted(len(shape) for shape in outputs)
    if ranks == [3, 4]:
        return f"outputs {shown} look like a segmentation network's (boxes and mask prototypes), which is not read"
    if ranks == [3] and outputs[0][1] <= 1000 and outputs[0][2] > 4:
        return (
            f"outputs {shown} look like query heads (RT-DETR, D-FINE), which are not read; if they are decoded boxes "
            "with objectness, say --layout decoded"
        )
    return (
        f"outputs must be those of a layout that is read (3 or 4 raw heads, or one output of boxes for every cell of "
        f"the input), got {shown}; docs/models.md lists the layouts, --layout chooses one"
    )
