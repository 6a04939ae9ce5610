"""A folder of detection files, one per image, in a format that the caller names → columns.

The files may come from any program. The two YOLO formats look alike, so the format is never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.competition_files import NamedBoxes, class_index, mean_time_ms, parse_named, plain_name
from data.format_names import DetectionFormat
from data.ground_truth import Scored, Sizes, size_of
from data.label_names import check_any_matched, find_files, match_labels
from data.label_text import OnProblem, raise_problem, read_text
from data.yolo_labels import YoloLabels, YoloLayout, parse_yolo


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionFiles:
    """The contents of a folder of detection files.

    detections: `Scored.image` is the position in the requested images.
    class_names: the caller's, followed by those that only the files name; None if the classes have no names.
    files: label files read.
    unmatched: label files that belong to none of the images.
    i_time_ms: mean inference time over the images that state one, ms; None if none does.
    """

    detections: Scored
    class_names: tuple[str, ...] | None
    files: int
    unmatched: int
    i_time_ms: float | None


def read_detections(
    folder: Path,
    label_format: DetectionFormat,
    *,
    images: Sizes,
    class_names: Sequence[str] | None = None,
    on_problem: OnProblem = raise_problem,
) -> DetectionFiles:
    """Read the files of `images`; an image without a file has no detections.

    YOLO formats need the size of every image that has detections. Bad lines go to `on_problem`, which raises
    FormatError by default; raises FormatError if there are files and none belongs to an image.
    """
    files = find_files(folder, ".txt")
    matched = match_labels(list(images), files, place=str(folder))
    check_any_matched(matched, files=files, image_ids=list(images))
    paths = {image_id: files[stem] for image_id, stem in matched.items()}
    if label_format == "competition":
        named = _read_named(paths, on_problem)
        detections, names = _of_named(named, images, class_names)
        i_time_ms = mean_time_ms(boxes.time_ms for boxes in named.values())
    else:
        labels = _read_yolo(paths, label_format, class_names, on_problem)
        detections, names, i_time_ms = _of_yolo(labels, images), _as_tuple(class_names), None
    return DetectionFiles(
        detections=detections,
        class_names=names,
        files=len(paths),
        unmatched=len(files) - len(paths),
        i_time_ms=i_time_ms,
    )


def _read_named(paths: dict[str, Path], on_problem: OnProblem) -> dict[str, NamedBoxes]:
    return {
        image_id: parse_named(read_text(path), "detections", place=str(path), on_problem=on_problem)
        for image_id, path in paths.items()
    }


def _read_yolo(
    paths: dict[str, Path], layout: YoloLayout, class_names: Sequence[str] | None, on_problem: OnProblem
) -> dict[str, YoloLabels]:
    count = None if class_names is None else len(class_names)
    return {
        image_id: parse_yolo(
            read_text(path), layout, place=str(path), class_count=count, on_problem=on_problem
        )
        for image_id, path in paths.items()
    }


def _as_tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _of_named(
    named: dict[str, NamedBoxes], images: Sizes, class_names: Sequence[str] | None
) -> tuple[Scored, tuple[str, ...] | None]:
    names = list(class_names or [])
    index = class_index(names)
    for name in sorted({plain_name(name) for boxes in named.values() for name in boxes.names} - index.keys()):
        index[name] = len(names)
        names.append(name)
    ids = [np.array([index[plain_name(name)] for name in boxes.names], np.int32) for boxes in named.values()]
    boxes = list(named.values())
    return _columns(list(named), images, ids, [b.confidence for b in boxes], [b.xyxy for b in boxes]), tuple(
        names
    )


def _of_yolo(labels: dict[str, YoloLabels], images: Sizes) -> Scored:
    xyxy = [
        of_image.xyxy(size_of(image_id, images)) if len(of_image.class_id) else np.zeros((0, 4))
        for image_id, of_image in labels.items()
    ]
    read = list(labels.values())
    return _columns(list(labels), images, [r.class_id for r in read], [r.confidence for r in read], xyxy)


def _columns(
    image_ids: Sequence[str],
    images: Sizes,
    class_id: Sequence[NDArray[np.int32]],
    confidence: Sequence[NDArray[np.float64]],
    xyxy: Sequence[NDArray[np.float64]],
) -> Scored:
    position_of = {image_id: position for position, image_id in enumerate(images)}
    positions = np.array([position_of[image_id] for image_id in image_ids], np.int32)
    return Scored(
        image=np.repeat(positions, [len(of_image) for of_image in class_id]),
        class_id=np.concatenate([np.zeros(0, np.int32), *class_id]),
        confidence=np.concatenate([np.zeros(0), *confidence]).astype(np.float32),
        xyxy=np.concatenate([np.zeros((0, 4)), *xyxy]).astype(np.float32),
    )
