"""Ground truth of a whole image set, from a COCO JSON, a folder of YOLO labels, or a folder of the VOC tool's files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.coco_json import CocoBoxes, read_coco
from data.columns import GroundTruth, Scored, Sizes
from data.competition_files import class_index, parse_named, plain_name, shown
from data.label_names import check_any_matched, find_files, match_labels
from data.label_text import FormatError, OnProblem, raise_problem, read_text, split_rows
from data.yolo_labels import looks_like_yolo_truth, parse_yolo

__all__ = [
    "GroundTruth",
    "Scored",
    "Sizes",
    "read_coco_truth",
    "read_ground_truth",
    "read_label_truth",
    "size_of",
]


def read_ground_truth(path: Path, *, images: Sizes, class_names: Sequence[str] | None = None) -> GroundTruth:
    """Read the true objects on `images` from a COCO JSON (a file), YOLO labels or the VOC tool's files (a folder).

    class_names: the detector's; classes of a COCO JSON and of the VOC tool are matched to them by name (`_` equals
        a space), and a class that the detector does not know is an error. Without them, the truth's order applies.
    A missing label file means no objects. YOLO labels need the size of every image that has objects.
    Raises FormatError, also if no label file or listed image belongs to `images`.
    """
    if path.is_file():
        return read_coco_truth(read_coco(path), path, images=images, class_names=class_names)
    return read_label_truth(path, None, images=images, class_names=class_names)


def read_coco_truth(
    coco: CocoBoxes, path: Path, *, images: Sizes, class_names: Sequence[str] | None
) -> GroundTruth:
    """Select the part of a COCO JSON that covers `images`, with classes in the detector's order; raises FormatError."""
    listed = {name: position for position, name in enumerate(coco.image_ids)}
    chosen = [name for name in images if name in listed]
    if images and listed and not chosen:
        some, other = next(iter(images)), coco.image_ids[0]
        raise FormatError(
            f"{path}: images[].file_name must be names like '{some}', the images' own, got '{other}'"
        )
    position_of = np.full(len(listed), -1, np.int32)
    position_of[[listed[name] for name in chosen]] = np.arange(len(chosen), dtype=np.int32)
    box_image = position_of[coco.box_image]
    kept = box_image >= 0
    return GroundTruth(
        class_names=coco.category_names if class_names is None else tuple(class_names),
        image_ids=tuple(chosen),
        box_image=box_image[kept],
        class_id=_translated(coco, path, class_names)[kept],
        xyxy=coco.xyxy[kept],
        crowd=coco.crowd[kept],
        area=coco.area[kept],
        unmatched=len(listed) - len(chosen),
        unlisted=len(images) - len(chosen),
    )


def _translated(coco: CocoBoxes, path: Path, class_names: Sequence[str] | None) -> NDArray[np.int32]:
    """(M,) each object's class id in the detector's order; categories without objects need no counterpart."""
    class_index(coco.category_names)  # refuses names that differ by spaces alone
    if class_names is None:
        return coco.class_id
    index = class_index(class_names)
    ids = np.array([index.get(plain_name(name), -1) for name in coco.category_names], np.int32)
    translated = ids[coco.class_id]
    unknown = sorted({coco.category_names[position] for position in coco.class_id[translated < 0]})
    if unknown:
        raise FormatError(
            f"{path}: every category with objects must be a class of the detector ({shown(class_names)}), "
            f"got {shown(unknown)}"
        )
    return translated


def read_label_truth(
    folder: Path,
    layout: Literal["yolo", "voc-tool"] | None,
    *,
    images: Sizes,
    class_names: Sequence[str] | None,
    on_problem: OnProblem = raise_problem,
) -> GroundTruth:
    """Read a folder of label files; without a `layout`, the first line found decides which of the two it is.

    Bad lines go to `on_problem`, which raises FormatError by default; raises FormatError if no file belongs to an
    image, or a class or an image size is unknown.
    """
    files = find_files(folder, ".txt")
    matched = match_labels(list(images), files, place=str(folder))
    check_any_matched(matched, files=files, image_ids=list(images))
    texts = [_Text(image_id, files[stem]) for image_id, stem in matched.items()]
    read = [(text, text.read(on_problem)) for text in texts]
    is_yolo = layout == "yolo" if layout else _is_yolo(content for _, content in read)
    boxes = (_yolo_boxes if is_yolo else _named_boxes)(read, images, class_names, on_problem)
    xyxy = np.concatenate([np.zeros((0, 4)), *boxes.xyxy])
    position_of = {image_id: position for position, image_id in enumerate(images)}
    positions = np.array([position_of[image_id] for image_id in matched], np.int32)
    return GroundTruth(
        class_names=boxes.class_names,
        image_ids=tuple(images),
        box_image=np.repeat(positions, [len(of_image) for of_image in boxes.class_id]),
        class_id=np.concatenate([np.zeros(0, np.int32), *boxes.class_id]),
        xyxy=xyxy,
        crowd=np.zeros(len(xyxy), np.bool_),
        area=(xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]),
        unmatched=len(files) - len(matched),
    )


@dataclass(frozen=True, slots=True)
class _Text:
    """A label file and the image it belongs to."""

    image_id: str
    path: Path

    def read(self, on_problem: OnProblem) -> str:
        try:
            return read_text(self.path)
        except FormatError as problem:
            on_problem(problem)
            return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _FolderBoxes:
    """Boxes and class ids, one array per image, in the order of the files."""

    class_names: tuple[str, ...] | None
    xyxy: list[NDArray[np.float64]]
    class_id: list[NDArray[np.int32]]


def _is_yolo(texts: Iterable[str]) -> bool:
    """Whether the first line found looks like a YOLO label; true if all files are empty."""
    rows = (rows[0] for text in texts if (rows := split_rows(text)))
    first = next(rows, None)
    return first is None or looks_like_yolo_truth(first)


def _yolo_boxes(
    read: Sequence[tuple[_Text, str]], images: Sizes, class_names: Sequence[str] | None, on_problem: OnProblem
) -> _FolderBoxes:
    count = None if class_names is None else len(class_names)
    xyxy, ids = [], []
    for file, text in read:
        labels = parse_yolo(text, "truth", place=str(file.path), class_count=count, on_problem=on_problem)
        xyxy.append(labels.xyxy(size_of(file.image_id, images)) if len(labels.class_id) else np.zeros((0, 4)))
        ids.append(labels.class_id)
    return _FolderBoxes(
        class_names=None if class_names is None else tuple(class_names), xyxy=xyxy, class_id=ids
    )


def _named_boxes(
    read: Sequence[tuple[_Text, str]],
    images: Sizes,  # noqa: ARG001 - pixels need no image size
    class_names: Sequence[str] | None,
    on_problem: OnProblem,
) -> _FolderBoxes:
    known = None if class_names is None else class_index(class_names)
    parsed = [
        parse_named(text, "truth", place=str(file.path), known=known, on_problem=on_problem)
        for file, text in read
    ]
    names = class_names or sorted({plain_name(name) for labels in parsed for name in labels.names})
    index = class_index(names)
    return _FolderBoxes(
        class_names=tuple(names),
        xyxy=[labels.xyxy for labels in parsed],
        class_id=[
            np.array([index[plain_name(name)] for name in labels.names], np.int32) for labels in parsed
        ],
    )


def size_of(image_id: str, images: Sizes) -> tuple[int, int]:
    """Return the image's (height, width); raises FormatError if it is unknown."""
    size_hw = images[image_id]
    if size_hw is None:
        raise FormatError(f"YOLO labels are fractions of the image: the size of '{image_id}' must be known")
    return size_hw
