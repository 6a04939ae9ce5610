"""A sweep in small: the committed networks of 64 x 96 pixels in two precisions and two batches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.study.run_once import read_job_file
from jobs.study.sweep_file import Sweep
from tests.helpers.paths import ROOT
from tests.helpers.reproduction_files import write_yaml


def sweep_content(folder: Path) -> dict[str, Any]:
    """The content of a sweep's file over `image_set(folder)`: eight points, two of which can run on the CPU."""
    return {
        "title": "In small",
        "output": str(folder / "sweep"),
        "images": str(folder / "images"),
        "ground-truth": str(folder / "labels"),
        "network-file": str(ROOT / "bmodel" / "{model}_{precision}_{batch}b.bmodel"),
        "options": {"device": "cpu", "score-protocol": "yolo"},
        "models": {"tiny": {"sizes": ["64x96"]}},
        "preprocess": ["opencv", "bmcv"],
        "precision": ["fp32", "int8"],
        "batch": [1, 4],
    }


def read_sweep(folder: Path, content: Mapping[str, Any]) -> Sweep:
    """Write the content into `folder`/sweep.yaml and read it."""
    return read_job_file(write_yaml(folder / "sweep.yaml", content), Sweep)
