"""COCO JSON: the images, categories and boxes of a whole set in one file. Read and written through `data.formats`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.label_names import safe_relative_path
from data.label_text import FormatError

LARGEST_SIDE_PX: Final = 1 << 30
LARGEST_NUMBER: Final = (1 << 63) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoBoxes:
    """A set of labelled images as columns.

    image_ids: (N,) file names relative to the image root.
    image_numbers: (N,) the ids that the file gives them.
    size_hw: (N, 2) int64 pixels.
    category_names, category_ids: (C,) sorted by the file's category id: position = class id.
    box_image: (M,) int32 position of the image.
    class_id: (M,) int32.
    xyxy: (M, 4) float64 pixels.
    crowd: (M,) bool, a region of many objects.
    area: (M,) float64 square pixels, the object's own (segmented) area where the file gives it, else the box's.
    """

    image_ids: tuple[str, ...]
    image_numbers: tuple[int, ...]
    size_hw: NDArray[np.int64]
    category_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    box_image: NDArray[np.int32]
    class_id: NDArray[np.int32]
    xyxy: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]


def read_coco(path: Path) -> CocoBoxes:
    """Read a COCO JSON of boxes; raises FormatError with the entry, the rule and the value."""
    document = _load(path)
    images = _entries(document, "images", path)
    categories = _entries(document, "categories", path)
    annotations = _entries(document, "annotations", path)
    image_ids = _column(images, "images", "file_name", str, path)
    names = tuple(safe_relative_path(name, place=f"{path}: images[].file_name") for name in image_ids)
    _refuse_repeated(names, "images", "file_name", path)
    numbers = _column(images, "images", "id", int, path)
    category_ids = _column(categories, "categories", "id", int, path)
    order = sorted(range(len(categories)), key=category_ids.__getitem__)
    category_names = _column(categories, "categories", "name", str, path)
    crowd = [annotation.get("iscrowd", 0) in (1, True) for annotation in annotations]
    xyxy, area = _boxes(annotations, path)
    return CocoBoxes(
        image_ids=names,
        image_numbers=tuple(numbers),
        size_hw=_sizes(images, path),
        category_names=tuple(category_names[position] for position in order),
        category_ids=tuple(category_ids[position] for position in order),
        box_image=_positions(annotations, "image_id", numbers, "images", path),
        class_id=_positions(annotations, "category_id", sorted(category_ids), "categories", path),
        xyxy=xyxy,
        crowd=np.array(crowd, np.bool_),
        area=area,
    )


def _load(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FormatError(f"a COCO JSON must be a regular file: '{path}'")
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}:{error.lineno}: the file must be JSON, got {error.msg}") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # ValueError: bytes that are not UTF-8, a number of 5,000 digits
        raise FormatError(f"a COCO JSON must be UTF-8 JSON: '{path}': {error}") from None
    except OSError as error:
        raise FormatError(f"cannot read the COCO JSON '{path}': {error.strerror}") from error
    if not isinstance(document, dict):
        raise FormatError(f"a COCO JSON must be an object with images, annotations and categories: '{path}'")
    return document


def _entries(document: Mapping[str, Any], key: str, path: Path) -> list[Mapping[str, Any]]:
    entries = document.get(key)
    if not isinstance(entries, list):
        raise FormatError(f"{key} must be a list: '{path}'")
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise FormatError(f"{key}[{position}] must be an object, got {entry!r:.60}: '{path}'")
    return entries


def _column(entries: Sequence[Mapping[str, Any]], key: str, field: str, kind: type, path: Path) -> list[Any]:
    values = [entry.get(field) for entry in entries]
    for position, value in enumerate(values):
        if type(value) is not kind:
            rule = "a text" if kind is str else "a whole number"
            raise FormatError(f"{key}[{position}].{field} must be {rule}, got {value!r:.60}: '{path}'")
        if isinstance(value, int) and field.endswith("id") and abs(value) > LARGEST_NUMBER:
            raise FormatError(
                f"{key}[{position}].{field} must be at most {LARGEST_NUMBER}, got {value!r:.60}: '{path}'"
            )
    if field == "id":
        _refuse_repeated(values, key, field, path)
    return values


def _sizes(images: Sequence[Mapping[str, Any]], path: Path) -> NDArray[np.int64]:
    heights, widths = (_column(images, "images", field, int, path) for field in ("height", "width"))
    for position, sides in enumerate(zip(heights, widths, strict=True)):
        if not all(1 <= side <= LARGEST_SIDE_PX for side in sides):
            raise FormatError(
                f"images[{position}] must have a height and a width from 1 to {LARGEST_SIDE_PX}, "
                f"got {sides[0]} and {sides[1]}: '{path}'"
            )
    return np.column_stack([np.array(heights, np.int64), np.array(widths, np.int64)])


def _refuse_repeated(values: Sequence[object], key: str, field: str, path: Path) -> None:
    if len(set(values)) == len(values):
        return
    seen: set[object] = set()
    for position, value in enumerate(values):
        if value in seen:
            raise FormatError(f"{key}[{position}].{field} must not repeat, got {value!r} again: '{path}'")
        seen.add(value)


def _positions(
    annotations: Sequence[Mapping[str, Any]], field: str, ids: Sequence[int], target: str, path: Path
) -> NDArray[np.int32]:
    position_of = {entry_id: position for position, entry_id in enumerate(ids)}
    found = []
    for number, annotation in enumerate(annotations):
        value = annotation.get(field)
        position = position_of.get(value) if type(value) is int else None
        if position is None:
            raise FormatError(
                f"annotations[{number}].{field} must be an id of {target}, got {value!r:.60}: '{path}'"
            )
        found.append(position)
    return np.array(found, np.int32)


def _boxes(
    annotations: Sequence[Mapping[str, Any]], path: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    xywh = np.empty((len(annotations), 4))
    area = np.empty(len(annotations))
    for number, annotation in enumerate(annotations):
        box = annotation.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
            raise FormatError(
                f"annotations[{number}].bbox must be four finite numbers, got {box!r:.80}: '{path}'"
            )
        if box[2] < 0 or box[3] < 0:
            raise FormatError(
                f"annotations[{number}].bbox must not have a negative size, got {box!r}: '{path}'"
            )
        stated = annotation.get("area", box[2] * box[3])
        if not _is_number(stated) or stated < 0:
            raise FormatError(
                f"annotations[{number}].area must be a number from 0, got {stated!r:.60}: '{path}'"
            )
        xywh[number], area[number] = box, stated
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1), area


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def write_coco(
    path: Path,
    *,
    image_ids: Sequence[str],
    size_hw: Sequence[tuple[int, int]],
    class_names: Sequence[str],
    box_image: NDArray[np.integer],
    class_id: NDArray[np.integer],
    xyxy: NDArray[np.floating],
    crowd: NDArray[np.bool_],
    area: NDArray[np.floating],
) -> None:
    """Write a COCO JSON; ids count from 1 in the order given, so category id = class id + 1.

    Arrays as in `CocoBoxes`: box_image, class_id, crowd and area (M,), xyxy (M, 4). Raises OSError.
    """
    xywh = np.round(np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1), 9)
    columns = zip(
        box_image.tolist(), class_id.tolist(), xywh.tolist(), area.tolist(), crowd.tolist(), strict=True
    )
    document = {
        "images": [
            {"id": number, "file_name": name, "height": int(height), "width": int(width)}
            for number, (name, (height, width)) in enumerate(zip(image_ids, size_hw, strict=True), start=1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(class_names, start=1)],
        "annotations": [
            {
                "id": number,
                "image_id": image + 1,
                "category_id": category + 1,
                "bbox": box,
                "area": round(size, 9),
                "iscrowd": int(is_crowd),
            }
            for number, (image, category, box, size, is_crowd) in enumerate(columns, start=1)
        ],
    }
    path.write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")


def format_coco_results(
    image_number: NDArray[np.integer],
    category_number: NDArray[np.integer],
    xyxy: NDArray[np.floating],
    confidence: NDArray[np.floating],
) -> str:
    """Format detections as the elements of COCO's list of results, one per line, with a comma after all but the last.

    image_number, category_number: (N,) the ids of image and category in the truth's JSON.
    xyxy: (N, 4) source pixels.
    confidence: (N,) in 0..1.
    """
    boxes = xyxy.astype(np.float64)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    rows = zip(
        image_number.tolist(), category_number.tolist(), xywh.tolist(), confidence.tolist(), strict=True
    )
    return ",\n".join(
        f'{{"image_id":{image},"category_id":{category},"bbox":[{x:.9g},{y:.9g},{w:.9g},{h:.9g}],"score":{score:.9g}}}'
        for image, category, (x, y, w, h), score in rows
    )
