"""A run's images with their boxes drawn, as JPEG files: truth on the left, detections on the right, worst first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from data.formats import stem_of
from jobs.report.gallery import Box, Scene
from jobs.report.judged_run import JudgedRun, read_judged_run
from jobs.report.pictures import ImageFiles
from jobs.run.folder import RunFolder
from tpu_worker.image_header import ImageError

FOLDER: Final = "annotated"
LONG_SIDE_PX: Final = 1280
JPEG_QUALITY: Final = 90
GAP_PX: Final = 8
LONGEST_NAME: Final = 150
Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
# BGR, as on the report's page: white is right, yellow was missed, red is false, grey is a crowd.
_COLOURS: Final[dict[str, Colour]] = {
    "found": (255, 255, 255),
    "plain": (255, 255, 255),
    "missed": (31, 210, 255),
    "false": (43, 90, 255),
    "excused": (187, 187, 187),
    "crowd": (187, 187, 187),
}
_DARK: Final[Colour] = (20, 20, 20)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE: Final = 0.42


def save_images(run: RunFolder, count: int, judged_run: JudgedRun | None = None) -> int:
    """Write the `count` worst images into `annotated/` of the run; returns how many could be read and were written.

    File names start with the rank. Without truth nobody knows which are the worst: then they are spread evenly over the
    run. judged_run: the run's rows, where they have been read already. Raises RunError.
    """
    for name in run.store.names(FOLDER):
        run.store.remove(f"{FOLDER}/{name}")
    if count <= 0:
        return 0
    judged_run = judged_run or read_judged_run(run)
    gallery = judged_run.gallery
    if gallery is None:
        return 0
    scenes = gallery.worst(count) if judged_run.judged is not None else gallery.spread(count)
    files = ImageFiles(run)
    paths = files.paths([scene.image_id for scene in scenes])
    written = 0
    for rank, scene in enumerate(scenes, start=1):
        try:
            bgr, size_hw = files.read(paths[scene.image_id], cover_hw=None)
        except (ImageError, KeyError):  # an image that failed, or that has moved since
            continue
        run.store.write(
            f"{FOLDER}/{_file_name(rank, len(scenes), scene.image_id)}", _jpeg(bgr, size_hw, scene)
        )
        written += 1
    return written


def _file_name(rank: int, total: int, image_id: str) -> str:
    flat = stem_of(image_id).replace("/", "_")
    while len(flat.encode()) > LONGEST_NAME:  # the end tells more than the beginning
        flat = flat[1:]
    return f"{rank:0{len(str(total))}d}-{flat}.jpg"


def _jpeg(bgr: Image, size_hw: tuple[int, int], scene: Scene) -> bytes:
    scale = min(1.0, LONG_SIDE_PX / max(size_hw))
    size_wh = max(1, round(size_hw[1] * scale)), max(1, round(size_hw[0] * scale))
    small = np.asarray(cv2.resize(bgr, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    panels = [
        draw_boxes(small, boxes, scale) for boxes in (scene.truth, scene.detections) if boxes is not None
    ]
    if len(panels) > 1:
        panels.insert(1, np.full((small.shape[0], GAP_PX, 3), 255, np.uint8))
    _, encoded = cv2.imencode(".jpg", np.hstack(panels), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()


def draw_boxes(bgr: Image, boxes: Sequence[Box], scale: float) -> Image:
    """A copy of the image with the boxes and their titles; scale: of the image, by its source pixels."""
    drawn: Image = bgr.copy()
    for box in boxes:
        left, top, right, bottom = (round(edge * scale) for edge in box.xyxy)
        colour = _COLOURS[box.kind]
        for shade, thickness in ((_DARK, 4), (colour, 2)):
            cv2.rectangle(drawn, (left, top), (right, bottom), shade, thickness, cv2.LINE_AA)
        _draw_title(drawn, box.title, left, top, colour)
    return drawn


def _draw_title(drawn: Image, title: str, left: int, top: int, colour: Colour) -> None:
    """The title on a dark ground above the box, or inside it at the image's upper border."""
    (width, height), below = cv2.getTextSize(title, _FONT, _FONT_SCALE, 1)
    left = max(0, min(left, drawn.shape[1] - width))
    base = top - below - 1 if top > height + below + 2 else top + height + 2
    cv2.rectangle(drawn, (left, base - height - 1), (left + width, base + below), _DARK, cv2.FILLED)
    cv2.putText(drawn, title, (left, base), _FONT, _FONT_SCALE, colour, 1, cv2.LINE_AA)
