"""Pascal VOC XML: one file per image, boxes in whole pixels counted from 1, the last pixel included.

A box that covers only the first pixel is `xmin 1, xmax 1`, which is edges (0, 1) in the frame used everywhere else.
Read and written through `data.formats`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from data.label_names import safe_relative_path
from data.label_text import FormatError, is_finite_number, read_text


@dataclass(frozen=True, kw_only=True, slots=True)
class VocImage:
    """One annotated image.

    file_name: as in the file, relative to its image folder; may be empty.
    size_hw: pixels.
    names: (N,) class names.
    xyxy: (N, 4) float64 source pixels counted from 0, right and bottom exclusive.
    """

    file_name: str
    size_hw: tuple[int, int]
    names: tuple[str, ...]
    xyxy: NDArray[np.float64]


def read_voc(path: Path) -> VocImage:
    """Read an annotation; raises FormatError with element, rule and value. Objects marked difficult count."""
    root = _parse(path)
    size = root.find("size")
    if size is None:
        raise FormatError(f"{path}: annotation must have a size")
    objects = root.findall("object")
    boxes = [_box(entry, number, path) for number, entry in enumerate(objects)]
    file_name = (root.findtext("filename") or "").strip()
    return VocImage(
        file_name=safe_relative_path(file_name, place=f"{path}: filename") if file_name else "",
        size_hw=(_whole(size, "height", "size", path), _whole(size, "width", "size", path)),
        names=tuple(_name(entry, number, path) for number, entry in enumerate(objects)),
        xyxy=np.array(boxes, np.float64).reshape(-1, 4),
    )


def _parse(path: Path) -> ET.Element:
    text = read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise FormatError(f"{path}: an annotation must not declare a document type or entities")
    try:
        root = ET.fromstring(_without_declaration(text))  # noqa: S314 - no entities: checked above
    except ET.ParseError as error:
        raise FormatError(f"{path}:{error.position[0]}: the file must be XML, got {error}") from None
    if root.tag != "annotation":
        raise FormatError(f"{path}: the root element must be annotation, got {root.tag!r:.60}")
    return root


def _without_declaration(text: str) -> str:
    """Drop `<?xml … ?>`: the encoding was settled when the bytes became text."""
    return re.sub(r"^\s*<\?xml[^>]*\?>", lambda found: "\n" * found.group().count("\n"), text, count=1)


def _name(entry: ET.Element, number: int, path: Path) -> str:
    name = (entry.findtext("name") or "").strip()
    if not name:
        raise FormatError(f"{path}: object[{number}].name must not be empty")
    return name


def _box(entry: ET.Element, number: int, path: Path) -> tuple[float, float, float, float]:
    box = entry.find("bndbox")
    place = f"object[{number}].bndbox"
    if box is None:
        raise FormatError(f"{path}: object[{number}] must have a bndbox")
    left, top, right, bottom = (_number(box, edge, place, path) for edge in ("xmin", "ymin", "xmax", "ymax"))
    if right < left or bottom < top:
        raise FormatError(
            f"{path}: {place} must have xmin ≤ xmax and ymin ≤ ymax, got {left:g} {top:g} {right:g} {bottom:g}"
        )
    return left - 1, top - 1, right, bottom


def _number(parent: ET.Element, tag: str, place: str, path: Path) -> float:
    text = (parent.findtext(tag) or "").strip()
    if not is_finite_number(text):
        raise FormatError(f"{path}: {place}.{tag} must be a finite number, got {text!r:.60}")
    return float(text)


def _whole(parent: ET.Element, tag: str, place: str, path: Path) -> int:
    value = _number(parent, tag, place, path)
    if value < 1 or value != int(value):
        raise FormatError(f"{path}: {place}.{tag} must be a whole number of pixels, 1 or more, got {value:g}")
    return int(value)


def format_voc(
    *, file_name: str, size_hw: tuple[int, int], names: Sequence[str], xyxy: NDArray[np.floating]
) -> str:
    """Format an annotation: edges are rounded to whole pixels, boxes are at least one pixel.

    names: (N,) class names. xyxy: (N, 4) source pixels. The format requires the rounding, at most half a pixel per
    edge; whole pixels stay exactly as they were.
    """
    low = np.floor(np.asarray(xyxy, np.float64)[:, :2] + 0.5).astype(np.int64) + 1
    high = np.maximum(np.floor(np.asarray(xyxy, np.float64)[:, 2:] + 0.5).astype(np.int64), low)
    lines = [
        "<annotation>",
        f"  <filename>{escape(file_name)}</filename>",
        f"  <size><width>{size_hw[1]}</width><height>{size_hw[0]}</height><depth>3</depth></size>",
    ]
    for name, (left, top), (right, bottom) in zip(names, low.tolist(), high.tolist(), strict=True):
        box = f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
        lines.append(
            f"  <object><name>{escape(name)}</name><difficult>0</difficult><bndbox>{box}</bndbox></object>"
        )
    return "\n".join([*lines, "</annotation>"]) + "\n"
