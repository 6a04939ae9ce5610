"""Ground truth and detections of a whole image set, as columns: what mAP is computed from.

Truth is read from a COCO JSON, a folder of YOLO labels, or a folder of the VOC tool's files; which of the three it
is shows in the files themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.coco_json import CocoBoxes, read_coco
from data.competition_files import class_ids, class_index, parse_named, plain_name, shown
from data.label_names import find_files, match_labels, refuse_strangers
from data.label_text import FormatError, OnProblem, raise_problem, read_text, split_rows
from data.yolo_labels import looks_like_yolo_truth, parse_yolo

Sizes = Mapping[str, tuple[int, int] | None]
"""image id → height and width in source pixels, None where nobody knows; its order is the order of the images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroundTruth:
    """What is really on N images, M objects in all.

    class_names: position = class id; None when neither the truth nor the caller names the classes.
    image_ids: (N,) the images that the truth speaks of and that were asked for; `box_image` and `Scored.image`
        are positions in it.
    box_image: (M,) int32. class_id: (M,) int32. xyxy: (M, 4) float64 source pixels.
    crowd: (M,) bool, a region of many objects. area: (M,) float64 square pixels.
    unmatched: label files, or images of the JSON, that belong to none of the images asked for.
    unlisted: images asked for that a COCO JSON does not list; nobody knows what they show, so they are not scored.
    """

    class_names: tuple[str, ...] | None
    image_ids: tuple[str, ...]
    box_image: NDArray[np.int32]
    class_id: NDArray[np.int32]
    xyxy: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]
    unmatched: int = 0
    unlisted: int = 0

    def __post_init__(self) -> None:
        count = len(self.xyxy)
        if self.xyxy.shape != (count, 4):
            raise ValueError(f"xyxy must have shape (M, 4), got {self.xyxy.shape}")
        for name in ("box_image", "class_id", "crowd", "area"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"{name} must have shape ({count},), got {getattr(self, name).shape}")
        _check_positions("box_image", self.box_image, len(self.image_ids))
        _check_positions(
            "class_id", self.class_id, None if self.class_names is None else len(self.class_names)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """Detections of a set of images, M in all, each image's best first.

    image: (M,) int32 position in `GroundTruth.image_ids`. class_id: (M,) int32.
    confidence: (M,) float32 in 0..1. xyxy: (M, 4) float32 source pixels.
    """

    image: NDArray[np.int32]
    class_id: NDArray[np.int32]
    confidence: NDArray[np.float32]
    xyxy: NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.image)
        if self.xyxy.shape != (count, 4) or self.xyxy.dtype != np.float32:
            raise ValueError(f"xyxy must be float32 ({count}, 4), got {self.xyxy.dtype} {self.xyxy.shape}")
        for name, kind in (("image", np.int32), ("class_id", np.int32), ("confidence", np.float32)):
            column = getattr(self, name)
            if column.shape != (count,) or column.dtype != kind:
                raise ValueError(
                    f"{name} must be {np.dtype(kind)} ({count},), got {column.dtype} {column.shape}"
                )
        if not (np.isfinite(self.xyxy).all() and np.isfinite(self.confidence).all()):
            raise ValueError("xyxy and confidence must be finite")

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def empty(cls) -> Scored:
        """No detections."""
        return cls(
            image=np.zeros(0, np.int32),
            class_id=np.zeros(0, np.int32),
            confidence=np.zeros(0, np.float32),
            xyxy=np.zeros((0, 4), np.float32),
        )


def _check_positions(name: str, positions: NDArray[np.int32], count: int | None) -> None:
    if len(positions) and (positions.min() < 0 or (count is not None and positions.max() >= count)):
        highest = "" if count is None else f" to {count - 1}"
        raise ValueError(f"{name} must lie in 0{highest}, got {positions.min()} to {positions.max()}")


def read_ground_truth(
    path: Path,
    *,
    images: Sizes,
    class_names: Sequence[str] | None = None,
    on_problem: OnProblem = raise_problem,
) -> GroundTruth:
    """Read what is really on `images`: a COCO JSON (a file), YOLO labels or the VOC tool's files (a folder).

    class_names: the detector's; classes of a COCO JSON and of the VOC tool are matched to them by name (`_` equals
    a space), and one that the detector does not know is an error. Without them, the truth's own order counts.
    A missing label file means no objects. YOLO labels need the size of every image that has objects.
    Raises FormatError, also when not one label file or listed image belongs to `images`.
    """
    if path.is_file():
        return _from_coco(read_coco(path), path, images, class_names)
    files = find_files(path, ".txt")
    matched = match_labels(list(images), files, place=str(path))
    refuse_strangers(matched, files=files, image_ids=list(images))
    named = not _is_yolo([files[stem] for stem in matched.values()])
    read = _read_voc_folder if named else _read_yolo_folder
    return read(matched, files, images, class_names, on_problem)


def _is_yolo(paths: Sequence[Path]) -> bool:
    """Whether the first line there is looks like a YOLO label; YOLO when all files are empty."""
    for path in paths:
        rows = split_rows(read_text(path))
        if rows:
            return looks_like_yolo_truth(rows[0])
    return True


def _from_coco(coco: CocoBoxes, path: Path, images: Sizes, class_names: Sequence[str] | None) -> GroundTruth:
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
    """Each object's class id in the detector's order; categories without a single object need no counterpart."""
    class_index(coco.category_names)  # refuses names that differ by spaces alone
    if class_names is None:
        return coco.class_id
    index = class_index(class_names)
    ids = np.full(len(coco.category_names), -1, np.int32)
    for position, name in enumerate(coco.category_names):
        ids[position] = index.get(plain_name(name), -1)
    unknown = sorted({coco.category_names[position] for position in coco.class_id[ids[coco.class_id] < 0]})
    if unknown:
        raise FormatError(
            f"{path}: every category with objects must be a class of the detector ({shown(class_names)}), "
            f"got {shown(unknown)}"
        )
    return ids[coco.class_id]


def _read_yolo_folder(
    matched: Mapping[str, str],
    files: Mapping[str, Path],
    images: Sizes,
    class_names: Sequence[str] | None,
    on_problem: OnProblem,
) -> GroundTruth:
    boxes, ids = [], []
    count = None if class_names is None else len(class_names)
    for image_id, stem in matched.items():
        path = files[stem]
        labels = parse_yolo(
            read_text(path), "truth", place=str(path), class_count=count, on_problem=on_problem
        )
        boxes.append(labels.xyxy(size_of(image_id, images)) if len(labels.class_id) else np.zeros((0, 4)))
        ids.append(labels.class_id)
    return _gathered(matched, files, images, boxes, ids, class_names)


def _read_voc_folder(
    matched: Mapping[str, str],
    files: Mapping[str, Path],
    images: Sizes,
    class_names: Sequence[str] | None,
    on_problem: OnProblem,
) -> GroundTruth:
    parsed = {
        stem: parse_named(read_text(files[stem]), "truth", place=str(files[stem]), on_problem=on_problem)
        for stem in matched.values()
    }
    if class_names is None:
        class_names = sorted({plain_name(name) for labels in parsed.values() for name in labels.names})
    index = class_index(class_names)
    ids = [class_ids(labels.names, index, place=str(files[stem])) for stem, labels in parsed.items()]
    return _gathered(matched, files, images, [labels.xyxy for labels in parsed.values()], ids, class_names)


def size_of(image_id: str, images: Sizes) -> tuple[int, int]:
    """The image's size; raises FormatError where nobody knows it."""
    size_hw = images[image_id]
    if size_hw is None:
        raise FormatError(f"YOLO labels are fractions of the image: the size of '{image_id}' must be known")
    return size_hw


def _gathered(
    matched: Mapping[str, str],
    files: Mapping[str, Path],
    images: Sizes,
    boxes: Sequence[NDArray[np.float64]],
    ids: Sequence[NDArray[np.int32]],
    class_names: Sequence[str] | None,
) -> GroundTruth:
    position_of = {image_id: position for position, image_id in enumerate(images)}
    positions = np.array([position_of[image_id] for image_id in matched], np.int32)
    xyxy = np.concatenate([np.zeros((0, 4)), *boxes])
    return GroundTruth(
        class_names=None if class_names is None else tuple(class_names),
        image_ids=tuple(images),
        box_image=np.repeat(positions, [len(of_image) for of_image in ids]),
        class_id=np.concatenate([np.zeros(0, np.int32), *ids]),
        xyxy=xyxy,
        crowd=np.zeros(len(xyxy), np.bool_),
        area=(xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]),
        unmatched=len(files) - len(matched),
    )
