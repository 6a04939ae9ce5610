"""Charts as values: what a template needs to draw one as inline SVG that fits any width.

Data live in a box of 1000 × 1000 units that is stretched to the space there is; ticks and marks are fractions of it,
so that text keeps its size whatever the width. y points up in every argument and down in paths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOX = 1000
Column = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A place along an axis, a fraction of it, and what stands there."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A path in the box; css: how it is drawn. title: shown when pointed at. key: its name in the legend, if any."""

    path: str
    css: str
    title: str = ""
    key: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A point worth naming, in fractions of the box; without `y` a vertical line over the whole height."""

    x: float
    label: str
    y: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """One chart. note: what it shows, a sentence below its title. x_label: what the x axis counts, with its unit."""

    title: str
    note: str
    x_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    shapes: tuple[Shape, ...]
    marks: tuple[Mark, ...] = ()

    @property
    def keys(self) -> tuple[Shape, ...]:
        """The shapes that a legend names."""
        return tuple(shape for shape in self.shapes if shape.key)


UNIT_TICKS = tuple(Tick(at=value / 4, label=f"{value / 4:g}") for value in range(5))


def ticks(low: float, high: float, *, most: int = 5) -> tuple[Tick, ...]:
    """At most `most` round values between low and high (and one more for luck), as fractions of that range."""
    if not high > low:
        return (Tick(at=0.0, label=f"{low:g}"),)
    step = nice_step((high - low) / most)
    values = _multiples(step, low, high)
    if not values:  # a range that starts just above one multiple may end before the next
        values = _multiples(step := step / 2, low, high)
    return tuple(Tick(at=(value - low) / (high - low), label=_label(value, step)) for value in values)


def _multiples(step: float, low: float, high: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def nice_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, 50 … that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _label(value: float, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step)))
    return f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def line(x: Column, y: Column) -> str:
    """A path through the points (fractions, at most 0..1 each); what lies on a straight run is left out."""
    points = np.stack([_units(x), BOX - _units(y)], axis=1)
    if len(points) > 2:
        before, after = points[1:-1] - points[:-2], points[2:] - points[1:-1]
        bends = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
        points = points[np.concatenate([[True], bends, [True]])]
    return "M" + "L".join(f"{across} {down}" for across, down in points.tolist())


def columns(edges: Column, heights: Column, base: Column | None = None) -> str:
    """Columns between N + 1 edges, N heights above their bases (all fractions); empty ones are left out."""
    left, right = _units(edges[:-1]), _units(edges[1:])
    bottom = np.zeros_like(left) if base is None else _units(base)
    top = bottom + _units(heights)
    drawn = (right > left) & (top > bottom)
    return "".join(
        f"M{x0} {BOX - y1}H{x1}V{BOX - y0}H{x0}z"
        for x0, x1, y0, y1 in np.stack([left, right, bottom, top], axis=1)[drawn].tolist()
    )


def step_area(edges: Column, heights: Column) -> str:
    """The area below a step function of N + 1 edges and N heights (fractions)."""
    across, up = _units(edges), BOX - _units(heights)
    steps = "".join(f"V{top}H{right}" for top, right in np.stack([up, across[1:]], axis=1).tolist())
    return f"M{int(across[0])} {BOX}{steps}V{BOX}z"


def _units(fractions: Column) -> NDArray[np.int64]:
    return np.rint(np.clip(fractions, 0, 1) * BOX).astype(np.int64)
