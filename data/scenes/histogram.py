"""A picture of how large a set's boxes are: an SVG histogram, one colour per class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EDGES_PX = (0, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 640)
COLOURS = ("#3b6ea5", "#d1603d", "#5b8c5a")
BAR_WIDTH, GAP, LEFT, TOP, PLOT_HEIGHT = 40, 10, 56, 40, 220
SMALL_EDGE = EDGES_PX.index(32)


def size_histogram(size_px: NDArray[np.float64], class_id: NDArray[np.int32]) -> NDArray[np.int64]:
    """(C, bins) boxes per class and bin of EDGES_PX; size is the root of a box's area in source pixels."""
    return np.stack([np.histogram(size_px[class_id == index], EDGES_PX)[0] for index in range(len(COLOURS))])


def histogram_svg(counts: NDArray[np.int64], class_names: Sequence[str], title: str) -> str:
    """Draw the histogram, (C, bins) boxes per class and bin, as an SVG document."""
    bins = counts.shape[1]
    width, height = LEFT + bins * (BAR_WIDTH + GAP) + 16, TOP + PLOT_HEIGHT + 56
    highest = int(counts.sum(0).max())
    small = counts[:, :SMALL_EDGE].sum() / max(int(counts.sum()), 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(LEFT, 20, f"{title}: {counts.sum()} boxes, {small:.0%} under 32x32 px", weight="bold"),
    ]
    parts += [_bar(index, counts[:, index], highest) for index in range(bins)]
    edge = LEFT + SMALL_EDGE * (BAR_WIDTH + GAP) - GAP // 2
    parts.append(
        f'<line x1="{edge}" x2="{edge}" y1="{TOP}" y2="{TOP + PLOT_HEIGHT}" stroke="#888" stroke-dasharray="4 3"/>'
    )
    parts.append(_text(LEFT, height - 8, "size: root of the box's area, source pixels"))
    for index, (name, colour) in enumerate(zip(class_names, COLOURS, strict=True)):
        x = width - 320 + index * 110
        parts.append(f'<rect x="{x}" y="{height - 18}" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(x + 17, height - 8, f"{name} {counts[index].sum()}"))
    return "\n".join([*parts, "</svg>", ""])


def _bar(index: int, counts: NDArray[np.int64], highest: int) -> str:
    x, base = LEFT + index * (BAR_WIDTH + GAP), TOP + PLOT_HEIGHT
    shapes = []
    for count, colour in zip(counts.tolist(), COLOURS, strict=True):
        tall = round(count / highest * (PLOT_HEIGHT - 16), 1)
        base -= tall
        shapes.append(f'<rect x="{x}" y="{base:.1f}" width="{BAR_WIDTH}" height="{tall}" fill="{colour}"/>')
    total = int(counts.sum())
    shapes.append(_text(x + BAR_WIDTH // 2, base - 4, str(total), anchor="middle"))
    label = f"{EDGES_PX[index]}-{EDGES_PX[index + 1]}"
    shapes.append(_text(x + BAR_WIDTH // 2, TOP + PLOT_HEIGHT + 16, label, anchor="middle"))
    return "\n".join(shapes)


def _text(x: float, y: float, text: str, *, weight: str = "normal", anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-weight="{weight}" text-anchor="{anchor}">{text}</text>'
