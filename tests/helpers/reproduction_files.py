"""A reproduction in small: a network of 64 x 96 pixels, a few images with truth, and the file that describes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from tests.helpers.image_files import encode
from tests.helpers.label_sets import write_files
from tests.helpers.paths import ROOT

TINY = ROOT / "bmodel" / "tiny_fp32_1b.bmodel"
NAMES = ("car", "person", "bike")
COUNT = 5


def image_set(folder: Path, *, count: int = COUNT) -> Path:
    """Images of noise with bright boxes in `folder`/images, YOLO labels of the boxes in `folder`/labels."""
    dice = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    labels = {}
    for number in range(count):
        picture = dice.integers(0, 90, (64, 96, 3), dtype=np.uint8)
        left, top = (int(side) for side in dice.integers(4, 40, 2))
        cv2.rectangle(picture, (left, top), (left + 20, top + 15), (40, 200, 240), cv2.FILLED)
        (folder / "images" / f"image-{number}.jpg").write_bytes(encode(".jpg", picture))
        centre = f"{(left + 10) / 96:.6f} {(top + 7.5) / 64:.6f}"
        labels[f"image-{number}.txt"] = f"{number % 3} {centre} {20 / 96:.6f} {15 / 64:.6f}\n"
    write_files(folder / "labels", labels)
    return folder


def reproduction(folder: Path, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of a reproduction's file about `image_set(folder)`, as both sets; top-level keys can be changed."""
    images = {"images": str(folder / "images"), "count": COUNT}
    return {
        "title": "In small",
        "output": str(folder / "result"),
        "network": {
            "file": str(TINY),
            "input-hw": [64, 96],
            "precision": "fp32",
            "batch": 1,
            "class-names": list(NAMES),
            "make": "raysail compile makes it",
        },
        "options": {"device": "cpu", "score-protocol": "yolo"},
        "sets": {"b-set": images, "validation": {**images, "ground-truth": str(folder / "labels")}},
        "expectations": {
            "map50": {"set": "validation", "published": 0.0, "tolerance": 1.0},
            "i-time-ms": {
                "set": "b-set",
                "published": 0.064,
                "tolerance": 0.001,
                "source": "predicted by the compiler's schedule",
            },
            "score": {"published": 100.0, "tolerance": 100.0},
        },
        **(changes or {}),
    }


def write_yaml(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a YAML file; returns its path."""
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")
    return path
