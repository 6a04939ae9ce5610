"""Renders street scenes to calibrate the sample network with; none of them is in the sample set.

    python -m data.scenes.calibration_scenes FOLDER [--count 132]

They are scenes of the training series: calibration may use what training used, and nothing that is scored.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data.scenes import TRAINING

COUNT = 132  # 100 to calibrate on, 32 to choose by


def write_scenes(folder: Path, count: int) -> None:
    """Write `count` JPEGs."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"scene-{number:04}.jpg").write_bytes(TRAINING.jpeg(number, TRAINING.scene(number)))


def main(arguments: list[str] | None = None) -> None:
    """Render the scenes into a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m data.scenes.calibration_scenes", description=main.__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=COUNT)
    options = parser.parse_args(arguments)
    write_scenes(options.folder, options.count)
    sys.stdout.write(f"{options.count} scenes in {options.folder}\n")


if __name__ == "__main__":
    main()
