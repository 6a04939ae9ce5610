"""Folders of detection files as teams hand them in, and copies of them with known damage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tests.helpers.label_sets import write_files

CLASSES = ("car", "person", "bike")
Change = tuple[str, int, str]
"""File without its suffix, line from 0, and what was done to it."""


def hand_in(folder: Path, *, files: int = 30, seed: int = 0) -> Path:
    """Files of 5 to 40 boxes each, no two of a class closer than NMS lets them, with a time an image."""
    dice = np.random.default_rng(seed)
    texts = {}
    for number in range(files):
        time_ms = dice.uniform(98, 105)
        lines = [
            f"{CLASSES[dice.integers(3)]} {confidence:.6f} {left} {top} {left + side} {top + tall} {time_ms:.6f}\n"
            for confidence, (left, top), side, tall in zip(
                np.sort(dice.uniform(0.001, 0.99, int(dice.integers(5, 41))))[::-1],
                dice.permutation(
                    [(left, top) for left in range(0, 1900, 240) for top in range(0, 1000, 200)]
                ),
                dice.integers(12, 180, 40),
                dice.integers(12, 150, 40),
                strict=False,
            )
        ]
        texts[f"{number:06d}.txt"] = "".join(lines)
    return write_files(folder, texts)


def copy_with_damage(
    published: Path, copy: Path, *, shifted: int, dropped: int, relabelled: int, seed: int = 0
) -> set[Change]:
    """A copy in which so many boxes, drawn by lot, were shifted, left out or given another class; returns which."""
    dice = np.random.default_rng(seed)
    lines = {path.stem: path.read_text().splitlines() for path in sorted(published.glob("*.txt"))}
    places = [(name, row) for name, rows in lines.items() for row in range(len(rows))]
    chosen = [places[index] for index in dice.permutation(len(places))[: shifted + dropped + relabelled]]
    kinds = ["moved"] * shifted + ["missing"] * dropped + ["relabelled"] * relabelled
    changes = {(name, row, kind) for (name, row), kind in zip(chosen, kinds, strict=True)}
    kind_of = {(name, row): kind for name, row, kind in changes}
    texts = {
        f"{name}.txt": "".join(_damaged(rows, [kind_of.get((name, row)) for row in range(len(rows))], dice))
        for name, rows in lines.items()
    }
    write_files(copy, texts)
    return changes


def _damaged(rows: list[str], kinds: list[str | None], dice: np.random.Generator) -> Iterable[str]:
    for text, kind in zip(rows, kinds, strict=True):
        name, confidence, *box, time_ms = text.split()
        left, top, right, bottom = (int(edge) for edge in box)
        if kind == "missing":
            continue
        if kind == "relabelled":
            name = CLASSES[(CLASSES.index(name) + int(dice.integers(1, 3))) % 3]
        if kind == "moved":  # by a quarter to twice the box's sides
            across, down = (dice.uniform(0.25, 2, 2) * (right - left + 1, bottom - top + 1)).astype(int) + 1
            left, top, right, bottom = left + across, top + down, right + across, bottom + down
        yield f"{name} {confidence} {left} {top} {right} {bottom} {time_ms}\n"
