"""Reads and writes the ground truth of an image set in any of four formats; `data.convert` is its command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.coco_json import read_coco, write_coco
from data.columns import GroundTruth
from data.competition_files import class_index, format_voc_truth, plain_name, shown
from data.format_names import TruthFormat
from data.ground_truth import read_coco_truth, read_label_truth
from data.image_sizes import image_sizes
from data.label_names import find_files, label_stems
from data.label_text import FormatError, OnProblem
from data.voc_xml import VocImage, format_voc, read_voc
from data.yolo_labels import format_yolo

SUFFIXES: Final[dict[TruthFormat, str]] = {"yolo": ".txt", "voc": ".xml", "voc-tool": ".txt"}

Sizes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledSet:
    """Truth of a set of images, all of known size, all classes named.

    class_names: position = class id.
    sizes: image id → (height, width) in pixels.
    """

    truth: GroundTruth
    class_names: tuple[str, ...]
    sizes: Sizes


def read_set(
    source_format: TruthFormat,
    source: Path,
    *,
    images: Path | None,
    class_names: Sequence[str] | None,
    on_problem: OnProblem,
) -> LabelledSet:
    """Read a set; bad lines and bad files go to `on_problem`; raises FormatError if the set as a whole is at fault.

    images: the folder of images, needed by `yolo` and `voc-tool`, whose files have no sizes.
    class_names: needed by `yolo`; for the other formats they set the order of the classes, and the source may name
        no others.
    """
    if source_format == "coco":
        return _read_coco_set(source, class_names)
    if source_format == "voc":
        return _read_voc_set(source, class_names, on_problem)
    if images is None:
        raise FormatError(
            f"the source format {source_format} has no image sizes: --images must name the folder of images"
        )
    if source_format == "yolo" and class_names is None:
        raise FormatError("the source format yolo has no class names: --class-names must give them")
    sizes = image_sizes(images)
    truth = read_label_truth(
        source, source_format, images=sizes, class_names=class_names, on_problem=on_problem
    )
    return LabelledSet(truth=truth, class_names=truth.class_names or (), sizes=sizes)


def _read_coco_set(source: Path, class_names: Sequence[str] | None) -> LabelledSet:
    coco = read_coco(source)
    sizes = {name: (int(h), int(w)) for name, (h, w) in zip(coco.image_ids, coco.size_hw, strict=True)}
    truth = read_coco_truth(coco, source, images=sizes, class_names=class_names)
    return LabelledSet(truth=truth, class_names=truth.class_names or (), sizes=sizes)


def _read_voc_set(source: Path, class_names: Sequence[str] | None, on_problem: OnProblem) -> LabelledSet:
    annotated: dict[str, VocImage] = {}
    for stem, path in find_files(source, ".xml").items():
        try:
            image = read_voc(path)
        except FormatError as problem:
            on_problem(problem)
            continue
        image_id = _voc_image_id(stem, image)
        if image_id in annotated:
            on_problem(FormatError(f"{path}: an image must be annotated once, got '{image_id}' again"))
        annotated[image_id] = image
    if not annotated:
        raise FormatError(f"the folder of annotations must hold a readable .xml file, got none in '{source}'")
    found = sorted({name for image in annotated.values() for name in image.names})
    names = tuple(class_names or found)
    index = class_index(names)
    unknown = [name for name in found if plain_name(name) not in index]
    if unknown:
        raise FormatError(f"{source}: every class must be one of {shown(names)}, got {shown(unknown)}")
    xyxy = np.concatenate([image.xyxy for image in annotated.values()])
    counts = [len(image.names) for image in annotated.values()]
    truth = GroundTruth(
        class_names=names,
        image_ids=tuple(annotated),
        box_image=np.repeat(np.arange(len(annotated), dtype=np.int32), counts),
        class_id=np.array(
            [index[plain_name(name)] for image in annotated.values() for name in image.names], np.int32
        ),
        xyxy=xyxy,
        crowd=np.zeros(len(xyxy), np.bool_),
        area=(xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]),
    )
    return LabelledSet(
        truth=truth, class_names=names, sizes={name: image.size_hw for name, image in annotated.items()}
    )


def _voc_image_id(stem: str, image: VocImage) -> str:
    """The annotation's folder and the file name in it; the annotation's own name if it has no file name."""
    if not image.file_name:
        return stem
    return (PurePosixPath(stem).parent / PurePosixPath(image.file_name).name).as_posix()


def write_set(target_format: TruthFormat, target: Path, labelled: LabelledSet) -> int:
    """Write a set: one file (COCO), or a folder with one file per image; returns how many crowds were left out.

    Raises FormatError if the target exists and is not an empty folder.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir()) or target_format == "coco"):
        raise FormatError(f"the target must not exist yet, or be an empty folder, got '{target}'")
    truth = labelled.truth
    if target_format == "coco":
        _write_coco_set(target, labelled)
        return 0
    rows = _rows_by_image(truth)
    for image_id, stem, of_image in zip(truth.image_ids, label_stems(truth.image_ids), rows, strict=True):
        text = _text(target_format, image_id, labelled, truth.xyxy[of_image], truth.class_id[of_image])
        path = target / f"{stem}{SUFFIXES[target_format]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return int(truth.crowd.sum())


def _rows_by_image(truth: GroundTruth) -> list[NDArray[np.int64]]:
    """The positions of each image's single objects, in the order they were read."""
    single = np.flatnonzero(~truth.crowd)
    single = single[np.argsort(truth.box_image[single], kind="stable")]
    bounds = np.searchsorted(truth.box_image[single], np.arange(1, len(truth.image_ids)))
    return np.split(single, bounds)[: len(truth.image_ids)]


def _text(
    target_format: TruthFormat,
    image_id: str,
    labelled: LabelledSet,
    xyxy: NDArray[np.float64],
    class_id: NDArray[np.int32],
) -> str:
    size_hw = labelled.sizes[image_id]
    if target_format == "yolo":
        inside = np.clip(
            xyxy, 0, [size_hw[1], size_hw[0]] * 2
        )  # annotators' boxes reach a little beyond the edge
        return format_yolo("truth", inside, np.ones(len(xyxy)), class_id, size_hw)
    if target_format == "voc-tool":
        return format_voc_truth(xyxy, class_id, labelled.class_names)
    names = [labelled.class_names[index] for index in class_id]
    return format_voc(file_name=PurePosixPath(image_id).name, size_hw=size_hw, names=names, xyxy=xyxy)


def _write_coco_set(target: Path, labelled: LabelledSet) -> None:
    truth = labelled.truth
    target.parent.mkdir(parents=True, exist_ok=True)
    write_coco(
        target,
        image_ids=truth.image_ids,
        size_hw=[labelled.sizes[image_id] for image_id in truth.image_ids],
        class_names=labelled.class_names,
        box_image=truth.box_image,
        class_id=truth.class_id,
        xyxy=truth.xyxy,
        crowd=truth.crowd,
        area=truth.area,
    )
