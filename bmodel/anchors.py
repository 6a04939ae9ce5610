"""Anchors by name or from a file: (width, height) in input pixels, one tuple a level, from fine to coarse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, TypeAlias

from bmodel.errors import ConfigurationError

Anchors: TypeAlias = tuple[tuple[tuple[float, float], ...], ...]

_YOLOV5: Final = "10,13 16,30 33,23\n30,61 62,45 59,119\n116,90 156,198 373,326"
_YOLOV7: Final = "12,16 19,36 40,28\n36,75 76,55 72,146\n142,110 192,243 459,401"
_FOUR_LEVELS: Final = (
    "19,27 44,40 38,94\n96,68 86,152 180,137\n140,301 303,264 238,542\n436,615 739,380 925,792"
)
# Both families use the same anchors where they have four levels (1280-pixel models: 5n6 to 5x6, w6 to e6e).
_NAMED: Final = {
    ("yolov5", 3): _YOLOV5,
    ("yolov7", 3): _YOLOV7,
    ("yolov5", 4): _FOUR_LEVELS,
    ("yolov7", 4): _FOUR_LEVELS,
}


def named_anchors(name: str, levels: int) -> Anchors:
    """Return the published anchors of `yolov5` or `yolov7` for three or four levels."""
    if (name, levels) not in _NAMED:
        raise ConfigurationError(
            f"anchors: only yolov5 and yolov7 with 3 or 4 levels are known, got '{name}' with {levels} levels"
        )
    return parse_anchors(_NAMED[name, levels], place=name)


def read_anchors(path: Path) -> Anchors:
    """Read an anchor file: one line a level, from fine to coarse, like `12,16 19,36 40,28`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"anchors: cannot read '{path}': {error}") from error
    return parse_anchors(text, place=str(path))


def parse_anchors(text: str, *, place: str) -> Anchors:
    """Parse the lines of an anchor file; `place` is named in errors."""
    levels = tuple(
        tuple(_parse_pair(pair, place) for pair in line.split()) for line in text.splitlines() if line.strip()
    )
    if not levels or len({len(level) for level in levels}) != 1:
        raise ConfigurationError(f"anchors: every level needs the same number of pairs in '{place}'")
    return levels


def resolve_anchors(choice: str | Anchors | None, levels: int, *, place: str = "a model") -> Anchors:
    """Return the anchors for an option's value: a name, a file's path, anchors, or None where both families agree.

    Raises ConfigurationError when nothing was chosen and the anchors cannot be known.
    """
    if choice is None and named_anchors("yolov5", levels) != named_anchors("yolov7", levels):
        raise ConfigurationError(
            "anchors: the heads of YOLOv5 and YOLOv7 look alike, so a model without a sidecar needs --anchors yolov5, "
            f"yolov7 or a file, for '{place}'"
        )
    if choice is None:
        anchors = named_anchors("yolov7", levels)
    elif not isinstance(choice, str):
        anchors = choice
    elif choice in {name for name, _ in _NAMED}:
        anchors = named_anchors(choice, levels)
    else:
        anchors = read_anchors(Path(choice))
    if len(anchors) != levels:
        raise ConfigurationError(
            f"anchors: the network has {levels} levels, got {len(anchors)} in '{choice}'"
        )
    return anchors


def _parse_pair(text: str, place: str) -> tuple[float, float]:
    try:
        width, height = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError(
            f"anchors: must be 'width,height' pairs, got '{text}' in '{place}'"
        ) from error
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise ConfigurationError(f"anchors: must be positive, got '{text}' in '{place}'")
    return width, height
