"""Scenes → pictures on a page: where the run's image files lie, and small JPEGs of those that are shown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bmodel.errors import RaysailError
from jobs.inputs.images import list_images
from jobs.report.gallery import Box, Scene
from jobs.run.folder import RunFolder
from tpu_worker.image_header import ImageError
from tpu_worker.read_image import ReadOptions, read_image

LONG_SIDE_PX = 480
JPEG_QUALITY = 70
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
    told: str
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
        bgr, (height, width) = files.read(path, cover_hw=(LONG_SIDE_PX, LONG_SIDE_PX))
    except ImageError as error:
        return _without_image(scene, str(error))
    return Picture(
        image_id=scene.image_id,
        told=scene.told,
        height=height,
        width=width,
        view_width=max(width, height // TALLEST),
        data=_small_jpeg(bgr),
        truth=None if scene.truth is None else _page_boxes(scene.truth, height, width),
        detections=_page_boxes(scene.detections, height, width),
    )


def _without_image(scene: Scene, reason: str) -> Picture:
    return Picture(
        image_id=scene.image_id,
        told=scene.told,
        height=0,
        width=0,
        view_width=0,
        data="",
        truth=None,
        detections=(),
        missing=reason,
    )


def _small_jpeg(bgr: NDArray[np.uint8]) -> str:
    scale = LONG_SIDE_PX / max(bgr.shape[:2])
    if scale < 1:
        size_wh = max(1, round(bgr.shape[1] * scale)), max(1, round(bgr.shape[0] * scale))
        bgr = np.asarray(cv2.resize(bgr, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return base64.b64encode(encoded.tobytes()).decode()


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
