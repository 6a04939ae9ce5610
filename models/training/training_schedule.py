"""What the sample network's training sees, how fast it learns, and what it logs."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How many images are seen at which size; sides in pixels.

    The first `coarse_images` are trained at the smaller side. The last `closing_images` are seen nearly as a detector
    will see them, with a rise and fall of the rate of their own, and with more weight on where boxes lie exactly.
    """

    images: int
    coarse_images: int
    closing_images: int
    coarse_px: int = 320
    fine_px: int = 416
    batch: int = 16
    warm_up_steps: int = 500
    peak_rate: float = 3e-3
    closing_rate: float = 8e-4
    closing_box_weight: float = 2.0
    last_share: float = 0.02
    weight_decay: float = 0.02
    log_images: int = 3_200
    score_images: int = 16_000
    scored_scenes: int = 200

    def __post_init__(self) -> None:
        if not self.batch <= self.images:
            raise ValueError(f"images must be at least a batch of {self.batch}, got {self.images}")
        for name in ("coarse_images", "closing_images"):
            if not 0 <= getattr(self, name) <= self.images:
                raise ValueError(f"{name} must be from 0 to {self.images}, got {getattr(self, name)}")

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.images // self.batch

    def side_px(self, step: int) -> int:
        """The training size at a step."""
        return self.coarse_px if step * self.batch < self.coarse_images else self.fine_px

    @property
    def closing_step(self) -> int:
        """The first step of the closing stage."""
        return (self.images - self.closing_images) // self.batch

    def is_closing(self, step: int) -> bool:
        """Whether a step belongs to the closing stage."""
        return step >= self.closing_step

    def rate(self, step: int) -> float:
        """Learning rate at a step: a linear rise, then half a cosine, in each of the two stages."""
        closing = self.is_closing(step)
        first, last = (self.closing_step, self.steps) if closing else (0, self.closing_step)
        rise = min(1.0, (step - first + 1) / self.warm_up_steps)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - first) / max(last - first, 1))))
        peak = self.closing_rate if closing else self.peak_rate
        return peak * rise * (self.last_share + (1 - self.last_share) * fall)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """One line of the log: mean losses since the line before, and figures on held-out scenes where measured."""

    minutes: float
    images: int
    side_px: int
    rate: float
    box: float
    objectness: float
    classes: float
    images_per_s: float
    ap50: float | None = None
    ap: float | None = None
    ap_small: float | None = None
    ap50_car: float | None = None
    ap50_person: float | None = None
    ap50_bike: float | None = None


def append_line(path: Path, line: LogLine) -> None:
    """Add a line to the log, with the column names before the first."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [item.name for item in fields(LogLine)], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(asdict(line))


def read_column(path: Path, name: str) -> list[tuple[float, float]]:
    """(images seen, value) of each line of a log that has a value in the column."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(float(row["images"]), float(row[name])) for row in csv.DictReader(file) if row[name]]
