"""The competition's files: a class name and a box in whole pixels, counted from 1, one object per line.

Detections are `class_name confidence left top right bottom`, followed by ` time_cost_ms` in the card's round: the
image's inference time, the same on each of its lines. Truth is `class_name left top right bottom`, as the VOC tool
reads it. Spaces in class names become `_`. Read through `data.formats`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.label_text import (
    FormatError,
    OnProblem,
    Row,
    Rule,
    at,
    check_rules,
    keep_rows_of_length,
    numbers,
    raise_problem,
    split_rows,
)

NamedLayout = Literal["detections", "truth"]

_FIELDS: Final[dict[NamedLayout, str]] = {
    "detections": "class_name confidence left top right bottom [time_cost_ms]",
    "truth": "class_name left top right bottom",
}
_LARGEST_PIXEL: Final = 1 << 24  # whole numbers up to here survive float32


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedBoxes:
    """The boxes of one image.

    names: (N,) as written.
    confidence: (N,) float64, 1 for truth.
    xyxy: (N, 4) float64 source pixels counted from 0; `whole_pixels` turns them back into the file's numbers.
    time_ms: the image's inference time, None where the file has none (or no line to carry it).
    """

    names: tuple[str, ...]
    confidence: NDArray[np.float64]
    xyxy: NDArray[np.float64]
    time_ms: float | None


def parse_named(
    text: str,
    layout: NamedLayout,
    *,
    place: str,
    known: Collection[str] | None = None,
    on_problem: OnProblem = raise_problem,
) -> NamedBoxes:
    """Read the text of one file; `place` names it in errors, `known` are the plain names that may occur.

    Bad lines go to `on_problem`, which raises FormatError by default.
    """
    lengths = [5] if layout == "truth" else [6, 7]
    rows = keep_rows_of_length(
        split_rows(text), lengths, layout=_FIELDS[layout], place=place, on_problem=on_problem
    )
    if known is not None:
        rows = [row for row in rows if _is_known(row, known, place=place, on_problem=on_problem)]
    first = lengths[0] - 4
    rows, table = numbers(rows, slice(1, first + 4), place=place, on_problem=on_problem)
    table = table.reshape(-1, first + 3)
    obeys = check_rules(rows, _rules(table), place=place, on_problem=on_problem)
    kept = [row for row, good in zip(rows, obeys, strict=True) if good]
    table = table[obeys]
    return NamedBoxes(
        names=tuple(row.fields[0] for row in kept),
        confidence=table[:, 0] if layout == "detections" else np.ones(len(table)),
        xyxy=table[:, -4:] - 1,
        time_ms=_time_of(kept, place=place, on_problem=on_problem),
    )


def _is_known(row: Row, known: Collection[str], *, place: str, on_problem: OnProblem) -> bool:
    if row.fields[0] in known:
        return True
    on_problem(at(place, row, f"class_name must be one of {shown(known)}", f"'{row.fields[0]}'"))
    return False


def _rules(table: NDArray[np.float64]) -> list[Rule]:
    box = table[:, -4:]
    rules = []
    for column, name in enumerate(("left", "top", "right", "bottom")):
        value = box[:, column]
        holds = (value == np.floor(value)) & (np.abs(value) <= _LARGEST_PIXEL)
        rules.append(Rule(holds=holds, text=f"{name} must be a whole number of pixels", values=value))
    rules.append(
        Rule(holds=box[:, 2] >= box[:, 0], text="right must not be less than left", values=box[:, 2])
    )
    rules.append(
        Rule(holds=box[:, 3] >= box[:, 1], text="bottom must not be less than top", values=box[:, 3])
    )
    if table.shape[1] > 4:
        confidence = table[:, 0]
        holds = (confidence >= 0) & (confidence <= 1)
        rules.append(Rule(holds=holds, text="confidence must lie in 0 to 1", values=confidence))
    return rules


def _time_of(rows: Sequence[Row], *, place: str, on_problem: OnProblem) -> float | None:
    timed = [row for row in rows if len(row.fields) == 7]
    timed, times = numbers(timed, slice(6, 7), place=place, on_problem=on_problem)
    for row, (time_ms,) in zip(timed, times.reshape(-1, 1), strict=True):
        if time_ms < 0:
            on_problem(at(place, row, "time_cost_ms must not be negative", f"{time_ms:.10g}"))
        elif time_ms != times[0, 0]:
            on_problem(
                at(place, row, f"time_cost_ms must be {times[0, 0]:.10g} as on the lines before", time_ms)
            )
    return float(times[0, 0]) if len(times) else None


def mean_time_ms(times_ms: Iterable[float | None]) -> float | None:
    """i_time of a set of files: the mean over images, ms; None if no file states a time.

    The mean is over images, not lines: i_time is what one image costs, and a mean over lines would count an image
    once per box.
    """
    known = [time_ms for time_ms in times_ms if time_ms is not None]
    return float(np.mean(known)) if known else None


def whole_pixels(xyxy: NDArray[np.floating]) -> NDArray[np.int64]:
    """(N, 4) boxes in source pixels → the competition's whole pixels, counted from 1.

    Its rule is `int(edge) + 1` for all four edges: truncated towards zero, so that right and bottom
    are one further than the last pixel inside.
    """
    whole: NDArray[np.int64] = np.trunc(xyxy).astype(np.int64) + 1
    return whole


def plain_name(name: str) -> str:
    """Return a class name as these files write it: every run of spaces as one `_`."""
    return re.sub(r"\s+", "_", name.strip())


@lru_cache(maxsize=16)
def _plain_names(class_names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(plain_name(name) for name in class_names)  # once per run, not once per image


def format_competition(
    xyxy: NDArray[np.floating],
    confidence: NDArray[np.floating],
    class_id: NDArray[np.integer],
    class_names: Sequence[str],
    time_ms: float | None,
) -> str:
    """Format an image's detections; without `time_ms`, lines end after the box.

    xyxy: (N, 4) source pixels, written as whole ones. confidence, class_id: (N,).
    Nine significant digits of confidence read back as the same float32: fewer would make ties, and a tie changes the
    order in which boxes are matched with the truth.
    """
    names = _plain_names(tuple(class_names))
    tail = "\n" if time_ms is None else f" {time_ms:.6f}\n"
    boxes = whole_pixels(xyxy).tolist()
    return "".join(
        f"{names[index]} {score:.9g} {left} {top} {right} {bottom}{tail}"
        for index, score, (left, top, right, bottom) in zip(
            class_id.tolist(), confidence.tolist(), boxes, strict=True
        )
    )


def format_voc_truth(
    xyxy: NDArray[np.floating], class_id: NDArray[np.integer], class_names: Sequence[str]
) -> str:
    """Format an image's truth for the VOC tool: xyxy (N, 4) in source pixels, written as whole ones; class_id (N,)."""
    names = _plain_names(tuple(class_names))
    rows = zip(class_id.tolist(), whole_pixels(xyxy).tolist(), strict=True)
    return "".join(f"{names[index]} {' '.join(map(str, box))}\n" for index, box in rows)


def class_index(class_names: Sequence[str]) -> dict[str, int]:
    """Class name → class id, names compared as files write them: `traffic light` equals `traffic_light`.

    Raises FormatError if two names differ by spaces alone.
    """
    index: dict[str, int] = {}
    for position, name in enumerate(class_names):
        known = index.setdefault(plain_name(name), position)
        if known != position:
            raise FormatError(
                f"class names must differ by more than spaces, got '{class_names[known]}' and '{name}'"
            )
    return index


def shown(names: Iterable[str], most: int = 8) -> str:
    """List names for an error message: the first `most`, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(f"'{name}'" for name in listed[:most]) + more
