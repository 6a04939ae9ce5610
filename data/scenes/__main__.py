"""Regenerates the sample set and the histogram of its box sizes: `python -m data.scenes`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from data.formats import read_coco
from data.scenes.histogram import histogram_svg, size_histogram
from data.scenes.sample_set import write_sample

PROJECT = Path(__file__).parents[2]


def main(arguments: list[str] | None = None) -> None:
    """Render the sample set, its labels and its histogram."""
    parser = argparse.ArgumentParser(prog="python -m data.scenes", description=main.__doc__)
    parser.add_argument("--output", type=Path, default=PROJECT / "data" / "sample")
    parser.add_argument("--histogram", type=Path, default=PROJECT / "docs" / "pictures" / "sample-sizes.svg")
    options = parser.parse_args(arguments)
    pictures = write_sample(options.output)
    truth = read_coco(options.output / "instances.json")
    counts = size_histogram(np.sqrt(truth.area), truth.class_id)
    options.histogram.parent.mkdir(parents=True, exist_ok=True)
    options.histogram.write_text(histogram_svg(counts, truth.category_names, "Sample set"), encoding="utf-8")
    boxes = sum(picture.boxes for picture in pictures)
    sys.stdout.write(f"{len(pictures)} pictures with {boxes} boxes in {options.output}\n")


if __name__ == "__main__":
    main()
