"""Draws a training log as a picture: `python -m models.training.plot_training log.csv curve.svg`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from models.training.training_schedule import read_column

WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP = 760, 250, 50, 120, 30, 46
COLOURS = ("#3b6ea5", "#d1603d", "#5b8c5a", "#8a6bbf", "#b08a2e", "#555555")
FIGURES = ("ap50", "ap", "ap_small", "ap50_car", "ap50_person", "ap50_bike")
LOSSES = ("box", "objectness", "classes")


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One chart: a title, columns of the log, and the range of both axes."""

    title: str
    columns: tuple[str, ...]
    most_images: float
    highest: float
    top: int

    def at(self, images: float, value: float) -> tuple[float, float]:
        """Where a value lies in the picture."""
        x = LEFT + images / self.most_images * (WIDTH - LEFT - RIGHT)
        return round(x, 1), round(self.top + HEIGHT * (1 - min(value / self.highest, 1.0)), 1)


def draw_log(log: Path) -> str:
    """The log's figures and losses over images seen, as an SVG document."""
    most = max(images for images, _ in read_column(log, "box"))
    figures = Panel(title="held-out scenes", columns=FIGURES, most_images=most, highest=1.0, top=TOP)
    below = TOP + HEIGHT + GAP
    losses = Panel(title="training loss", columns=LOSSES, most_images=most, highest=3.0, top=below)
    size = f'width="{WIDTH}" height="{below + HEIGHT + GAP}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">']
    parts.append('<rect width="100%" height="100%" fill="white"/>')
    parts += [*_panel(figures, log), *_panel(losses, log), "</svg>", ""]
    return "\n".join(parts)


def _panel(panel: Panel, log: Path) -> list[str]:
    parts = [f'<text x="{LEFT}" y="{panel.top - 10}" font-weight="bold">{panel.title}</text>']
    for step in range(6):
        value = panel.highest * step / 5
        x, y = panel.at(0, value)
        parts.append(f'<line x1="{x}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4}" text-anchor="end">{value:.1f}</text>')
    for step in range(5):
        images = panel.most_images * step / 4
        x, y = panel.at(images, 0)
        parts.append(f'<text x="{x}" y="{y + 16}" text-anchor="middle">{images / 1000:.0f}k images</text>')
    for index, (column, colour) in enumerate(zip(panel.columns, COLOURS, strict=False)):
        points = " ".join("{},{}".format(*panel.at(*point)) for point in read_column(log, column))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = panel.top + 14 + index * 18
        parts.append(f'<rect x="{WIDTH - RIGHT + 14}" y="{y - 9}" width="12" height="3" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 32}" y="{y - 3}">{column}</text>')
    return parts


def main(arguments: list[str]) -> None:
    """Read the log named by the first argument, write the picture named by the second."""
    log, picture = (Path(argument) for argument in arguments)
    picture.write_text(draw_log(log), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
