"""Draws detections on pictures and lays these out on one sheet.

    python -m data.scenes.contact_sheet --labels result/NAME/labels --output docs/pictures/contact-sheet.jpg

takes a run's `yolo` labels (class, box, confidence) on the sample set.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from data.formats import parse_yolo
from data.scenes.render import CLASS_NAMES
from data.scenes.sketch import Bgr, Image, as_image

COLOURS: tuple[Bgr, ...] = ((60, 60, 230), (80, 200, 60), (240, 140, 40))
SCENES = (5, 12, 21, 37, 43, 64, 73, 77, 84, 88, 95, 100)
TILE_HW = (300, 400)
COLUMNS, MARGIN_PX = 4, 6


def draw_detections(bgr: Image, labels: str, place: str, least_confidence: float) -> Image:
    """Copy a picture, (H, W, 3) BGR, with a frame around every detection of at least this confidence.

    labels: the text of a `yolo` label file; `place` names it in errors. Raises FormatError.
    """
    height, width = bgr.shape[:2]
    found = parse_yolo(labels, "yolo", place=place, class_count=len(CLASS_NAMES))
    drawn: Image = bgr.copy()
    boxes = zip(found.xyxy((height, width)), found.class_id.tolist(), found.confidence.tolist(), strict=True)
    for box, class_id, confidence in boxes:
        if confidence < least_confidence:
            continue
        left, top, right, bottom = (int(value) for value in np.floor(box + 0.5))
        cv2.rectangle(
            drawn, (left, top), (right - 1, bottom - 1), COLOURS[class_id], 1 if right - left < 60 else 2
        )
    return drawn


def lay_out(pictures: list[Image]) -> Image:
    """Arrange pictures, (H, W, 3) BGR of any size, in a grid of equal tiles on white; returns (H, W, 3) too."""
    rows = (len(pictures) + COLUMNS - 1) // COLUMNS
    down, across = TILE_HW[0] + MARGIN_PX, TILE_HW[1] + MARGIN_PX
    sheet = np.full((rows * down + MARGIN_PX, COLUMNS * across + MARGIN_PX, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        scale = min(TILE_HW[0] / picture.shape[0], TILE_HW[1] / picture.shape[1])
        size_wh = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        tile = as_image(cv2.resize(picture, size_wh, interpolation=method))
        top = MARGIN_PX + index // COLUMNS * down + (TILE_HW[0] - tile.shape[0]) // 2
        left = MARGIN_PX + index % COLUMNS * across + (TILE_HW[1] - tile.shape[1]) // 2
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def main(arguments: list[str] | None = None) -> None:
    """Draw a run's detections on pictures of the sample set."""
    project = Path(__file__).parents[2]
    parser = argparse.ArgumentParser(prog="python -m data.scenes.contact_sheet", description=main.__doc__)
    parser.add_argument("--images", type=Path, default=project / "data" / "sample" / "images")
    parser.add_argument("--labels", type=Path, required=True, help="a run's label files, in the format yolo")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scenes", type=int, nargs="+", default=SCENES)
    parser.add_argument(
        "--confidence", type=float, default=0.35, help="draw detections of at least this confidence"
    )
    options = parser.parse_args(arguments)
    pictures = []
    for number in options.scenes:
        path = options.images / f"scene-{number:03}.jpg"
        labels = options.labels / f"scene-{number:03}.txt"
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise SystemExit(f"cannot read the picture '{path}'")
        text = labels.read_text(encoding="utf-8")
        pictures.append(draw_detections(as_image(bgr), text, str(labels), options.confidence))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(options.output), lay_out(pictures), [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main()
