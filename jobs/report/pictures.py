"""A run's images with their boxes: small JPEGs for the page, and annotated files, worst first, truth left and detections right."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bmodel.errors import RaysailError
from data.formats import stem_of
from jobs.inputs.images import list_images
from jobs.report.gallery import Box, Scene
from jobs.report.judged_run import JudgedRun, read_judged_run
from jobs.run.folder import RunFolder
from tpu_worker.image_header import ImageError
from tpu_worker.read_image import ReadOptions, read_image

Image = NDArray[np.uint8]
PAGE_SIDE_PX = 480
PAGE_QUALITY = 70
# Taller images, by their width, get margins.
TALLEST = 2
# Of more boxes than this only errors have labels.
DENSE = 25
# A panel's usual width and the size of its labels' letters, CSS pixels: labels that would overlap are left out.
PANEL_PX = 270
LETTER_PX = 6.2
LINE_PX = 14


@dataclass(frozen=True, kw_only=True, slots=True)
class PageBox:
    """A box in source pixels; its label's place in percent of the view, where it has one.

    anchor: which end of the label stands there, start or end.
    """

    x: int
    y: int
    width: int
    height: int
    kind: str
    title: str
    label: str
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A scene as the page shows it.

    height, width: of the image, source pixels. view_width: of what is shown, with margins beside a very tall image.
    data: the JPEG in base64. missing: why there is none.
    """

    image_id: str
    caption: str
    height: int
    width: int
    view_width: int
    data: str
    truth: tuple[PageBox, ...] | None
    detections: tuple[PageBox, ...]
    missing: str = ""


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Where the images of a run lie, by their ids."""

    run: RunFolder

    def paths(self, image_ids: Sequence[str]) -> dict[str, str]:
        """The path of each of these images; raises RaysailError when the list they came from is not there."""
        source = self.run.record.images_place
        if Path(source).is_dir():
            root = Path(source).resolve()
            return {image_id: f"{root}/{image_id}" for image_id in image_ids}
        images = list_images(source)
        wanted = set(image_ids)
        pairs = zip(images.image_ids.to_pylist(), images.paths.to_pylist(), strict=True)
        return {image_id: path for image_id, path in pairs if image_id in wanted}

    def read(
        self, path: str, *, cover_hw: tuple[int, int] | None
    ) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """BGR pixels and the full size (h, w), turned as the run turned them; raises ImageError."""
        ignore_exif = self.run.record.fingerprint.ignore_exif
        image = read_image(path, ReadOptions(ignore_exif=ignore_exif, reduce_to_hw=cover_hw))
        return image.bgr, image.size_hw


def pictures(run: RunFolder, scenes: Sequence[Scene]) -> tuple[Picture, ...]:
    """The scenes with their images; one that cannot be read says why in its place."""
    files = ImageFiles(run)
    try:
        paths = files.paths([scene.image_id for scene in scenes])
    except RaysailError as error:
        return tuple(_without_image(scene, str(error)) for scene in scenes)
    return tuple(_picture(files, scene, paths.get(scene.image_id)) for scene in scenes)


def _picture(files: ImageFiles, scene: Scene, path: str | None) -> Picture:
    if path is None:
        return _without_image(scene, "the list of images does not name it any more")
    try:
        bgr, (height, width) = files.read(path, cover_hw=(PAGE_SIDE_PX, PAGE_SIDE_PX))
    except ImageError as error:
        return _without_image(scene, str(error))
    return Picture(
        image_id=scene.image_id,
        caption=scene.caption,
        height=height,
        width=width,
        view_width=max(width, height // TALLEST),
        data=base64.b64encode(_jpeg(_shrunk(bgr, PAGE_SIDE_PX), PAGE_QUALITY)).decode(),
        truth=None if scene.truth is None else _page_boxes(scene.truth, height, width),
        detections=_page_boxes(scene.detections, height, width),
    )


def _without_image(scene: Scene, reason: str) -> Picture:
    return Picture(
        image_id=scene.image_id,
        caption=scene.caption,
        height=0,
        width=0,
        view_width=0,
        data="",
        truth=None,
        detections=(),
        missing=reason,
    )


def _shrunk(bgr: Image, side_px: int) -> Image:
    """The image (H, W, 3) with its longer side at most so long."""
    scale = side_px / max(bgr.shape[:2])
    if scale >= 1:
        return bgr
    size_wh = max(1, round(bgr.shape[1] * scale)), max(1, round(bgr.shape[0] * scale))
    return np.asarray(cv2.resize(bgr, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(bgr: Image, quality: int) -> bytes:
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


def _page_boxes(boxes: Sequence[Box], height: int, width: int) -> tuple[PageBox, ...]:
    view_width = max(width, height // TALLEST)
    made = [_page_box(box, height, width, view_width) for box in boxes]
    taken: list[tuple[float, float, float, float]] = []
    for position in sorted(range(len(boxes)), key=lambda position: boxes[position].rank):
        place = _label_place(made[position], height / view_width)
        wanted = len(boxes) <= DENSE or boxes[position].kind in ("missed", "false")
        if wanted and not any(_overlap(place, other) for other in taken):
            taken.append(place)
        else:
            made[position] = replace(made[position], label="")
    return tuple(made)


def _page_box(box: Box, height: int, width: int, view_width: int) -> PageBox:
    left, top, right, bottom = box.xyxy
    at_end = left > 0.6 * width
    place = (right if at_end else left) + (view_width - width) / 2
    return PageBox(
        x=left,
        y=top,
        width=max(1, right - left),
        height=max(1, bottom - top),
        kind=box.kind,
        title=box.title,
        label=box.title,
        label_x=round(place / view_width * 100, 1),
        label_y=round(top / height * 100, 1),
        anchor="end" if at_end else "start",
    )


def _label_place(box: PageBox, height_by_width: float) -> tuple[float, float, float, float]:
    """Where a label would lie on a panel of the usual width: left, top, right, bottom in CSS pixels."""
    length = LETTER_PX * len(box.label)
    left = box.label_x / 100 * PANEL_PX - (length if box.anchor == "end" else 0)
    top = box.label_y / 100 * PANEL_PX * height_by_width - LINE_PX
    return left, top, left + length, top + LINE_PX


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


FOLDER: Final = "annotated"
FILE_SIDE_PX: Final = 1280
FILE_QUALITY: Final = 90
GAP_PX: Final = 8
LONGEST_NAME: Final = 150
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
            f"{FOLDER}/{_file_name(rank, len(scenes), scene.image_id)}", _panels(bgr, size_hw, scene)
        )
        written += 1
    return written


def _file_name(rank: int, total: int, image_id: str) -> str:
    flat = stem_of(image_id).replace("/", "_")
    while len(flat.encode()) > LONGEST_NAME:  # the end tells more than the beginning
        flat = flat[1:]
    return f"{rank:0{len(str(total))}d}-{flat}.jpg"


def _panels(bgr: Image, size_hw: tuple[int, int], scene: Scene) -> bytes:
    """The truth and the detections side by side, as JPEG."""
    small = _shrunk(bgr, FILE_SIDE_PX)
    scale = min(1.0, FILE_SIDE_PX / max(size_hw))
    panels = [
        draw_boxes(small, boxes, scale) for boxes in (scene.truth, scene.detections) if boxes is not None
    ]
    if len(panels) > 1:
        panels.insert(1, np.full((small.shape[0], GAP_PX, 3), 255, np.uint8))
    return _jpeg(np.hstack(panels), FILE_QUALITY)


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
