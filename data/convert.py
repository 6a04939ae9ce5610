"""Convert the ground truth of an image set: YOLO labels, COCO JSON, Pascal VOC XML and the VOC tool's files.

    python -m data.convert --from coco instances.json --to yolo labels
    python -m data.convert --from yolo labels --images images --class-names names.txt --to coco instances.json

What a format cannot express is lost: COCO's crowds (they are counted) and segmented areas in the other formats, parts
of a pixel in Pascal VOC XML (at most half a pixel per edge) and in the VOC tool's files (up to one), and what lies
outside the image in YOLO labels. YOLO labels have no class names and no image sizes, the VOC tool's files no image
sizes: those come from `--class-names` and `--images`.

Every bad line is reported on a line of its own, with file, line, rule and value; if there are any, nothing is written
and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data.conversion import LabelledSet, read_set, write_set
from data.format_names import TruthFormat
from data.label_text import FormatError, read_text

FORMATS: Final[tuple[TruthFormat, ...]] = ("yolo", "coco", "voc", "voc-tool")


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertOptions:
    """What the command line asks for."""

    source_format: TruthFormat
    source: Path
    target_format: TruthFormat
    target: Path
    images: Path | None
    class_names: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert as the command line says; returns the exit code (2 for wrong usage, from argparse)."""
    options = _parse(arguments)
    problems: list[FormatError] = []
    try:
        labelled = read_set(
            options.source_format,
            options.source,
            images=options.images,
            class_names=_class_names(options.class_names),
            on_problem=problems.append,
        )
        if not problems:
            crowds = write_set(options.target_format, options.target, labelled)
            sys.stdout.write(_summary(options, labelled, crowds))
            _write_class_names(options, labelled)
    except (FormatError, OSError) as error:
        problems.append(error if isinstance(error, FormatError) else FormatError(str(error)))
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


def _parse(arguments: Sequence[str] | None) -> ConvertOptions:
    parser = argparse.ArgumentParser(
        prog="python -m data.convert", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument(
        "--from", dest="source_format", choices=FORMATS, required=True, help="format of SOURCE"
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the COCO JSON, or the folder of labels")
    parser.add_argument("--to", dest="target_format", choices=FORMATS, required=True, help="format of TARGET")
    parser.add_argument(
        "target", type=Path, metavar="TARGET", help="file (coco) or folder to write; must not exist yet"
    )
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="the images, if the source has no sizes"
    )
    parser.add_argument(
        "--class-names",
        type=Path,
        metavar="FILE",
        help="one name per line, in the order of the class ids; required to read yolo, sets the order when writing it",
    )
    given = parser.parse_args(arguments)
    if given.source_format == "yolo" and given.class_names is None:
        parser.error("--from yolo needs --class-names: YOLO labels have numbers only")
    if given.source_format in ("yolo", "voc-tool") and given.images is None:
        parser.error(f"--from {given.source_format} needs --images: its files have no image sizes")
    return ConvertOptions(**vars(given))


def _class_names(path: Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    names = tuple(line.strip() for line in read_text(path).split("\n") if line.strip())
    if not names or len(set(names)) != len(names):
        raise FormatError(f"class names must be given, one per line and none twice, in '{path}'")
    return names


def _write_class_names(options: ConvertOptions, labelled: LabelledSet) -> None:
    """YOLO labels have no names: these go beside the folder, where no reader takes them for an image's labels."""
    if options.target_format == "yolo" and options.class_names is None:
        path = options.target.with_name(options.target.name + ".names")
        path.write_text("".join(f"{name}\n" for name in labelled.class_names), encoding="utf-8")
        sys.stdout.write(f"class names in '{path}'\n")


def _summary(options: ConvertOptions, labelled: LabelledSet, crowds: int) -> str:
    truth = labelled.truth
    objects = len(truth.xyxy) - crowds
    lines = [f"{len(truth.image_ids)} images, {objects} objects of {len(labelled.class_names)} classes"]
    if crowds:
        lines.append(f"{crowds} crowds left out: {options.target_format} has none")
    if truth.unmatched:
        lines.append(f"{truth.unmatched} label files belong to no image")
    return "\n".join(lines) + f" in '{options.target}'\n"


if __name__ == "__main__":
    sys.exit(main())
