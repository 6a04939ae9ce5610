"""`make demo`: the whole job on the sample set, and where to go from there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bmodel.errors import ConfigurationError
from jobs.command_line import errors_as_one_line
from jobs.config.detect_config import parse_config

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
NAME = "sample_yolov7tiny_416"


def main() -> None:
    """Run the job on the sample set with the device and cards asked for; exits with the job's code."""
    parser = argparse.ArgumentParser(prog="python -m jobs.demo", description=main.__doc__)
    parser.add_argument("--device", choices=("cpu", "simulator"), default="cpu")
    parser.add_argument(
        "--precision", choices=("fp32", "int8"), default="fp32", help="needs the simulator for int8"
    )
    parser.add_argument("--cards", type=int, default=2)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    with errors_as_one_line():
        if not SAMPLE.is_dir():
            raise ConfigurationError(
                f"the demo needs a checkout with the sample set, and '{SAMPLE}' is not there"
            )
        sys.exit(run(arguments.device, arguments.precision, arguments.cards, arguments.limit))


def run(device: str, precision: str, cards: int, limit: int | None) -> int:
    """Run the job and say what to try next; returns the job's exit code."""
    from jobs.detect import detect

    model = ROOT / "bmodel" / f"{NAME}_{precision}_1b.bmodel"
    code = detect(
        parse_config(
            {
                "images": str(SAMPLE / "images"),
                "ground-truth": str(SAMPLE / "instances.json"),
                "model": model,
                "device": device,
                "cards": cards,
                **({"limit": limit} if limit else {}),
            }
        )
    )
    sys.stdout.write(
        "\n"
        "Next: make demo DEVICE=simulator LIMIT=8     the BModel itself, bit for bit, without a card\n"
        "      raysail detect --images FOLDER --model FILE   your images, your network; --device sail on a card\n"
        "      raysail import-weights yolov7.pt       published weights; raysail compile makes the BModel\n"
    )
    return code


if __name__ == "__main__":
    main()
