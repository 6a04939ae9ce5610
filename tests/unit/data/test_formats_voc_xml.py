"""Pascal VOC XML: what is read, what is written, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.formats import (
    FormatError,
    format_voc,
    read_voc,
)

XML = """<?xml version="1.0" encoding="UTF-8"?>
<annotation>
  <folder>somewhere</folder><filename>a.jpg</filename>
  <size><width>640</width><height>480</height><depth>3</depth></size>
  <object><name>traffic light</name><difficult>1</difficult>
    <bndbox><xmin>1</xmin><ymin>11.0</ymin><xmax>1</xmax><ymax>20</ymax></bndbox></object>
</annotation>
"""


def xml_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "a.xml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_a_pascal_voc_annotation(tmp_path: Path) -> None:
    image = read_voc(xml_file(tmp_path, XML))
    assert (image.file_name, image.size_hw, image.names) == ("a.jpg", (480, 640), ("traffic light",))
    assert image.xyxy.tolist() == [[0, 10, 1, 20]]  # the first pixel alone is the edges 0 and 1


def test_a_written_annotation_reads_back(tmp_path: Path) -> None:
    boxes = np.array([[0, 10, 1, 20], [3.4, 3.5, 9.6, 9.4], [5.2, 5.2, 5.3, 5.3]])
    text = format_voc(file_name="<a> & b.jpg", size_hw=(480, 640), names=["car", "a & b", "bike"], xyxy=boxes)
    image = read_voc(xml_file(tmp_path, text))
    assert (image.file_name, image.size_hw, image.names) == (
        "<a> & b.jpg",
        (480, 640),
        ("car", "a & b", "bike"),
    )
    assert image.xyxy.tolist() == [[0, 10, 1, 20], [3, 4, 10, 9], [5, 5, 6, 6]]


BILLION = '<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;">]>'


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("<annotation>", BILLION + "<annotation>", "must not declare a document type or entities"),
        ("</annotation>", "", r"a.xml:\d+: the file must be XML"),
        ("<annotation>", "<html/>", "the file must be XML"),
        ("annotation>", "html>", "the root element must be annotation, got 'html'"),
        ("<width>640</width>", "", r"size.width must be a finite number, got ''"),
        ("640", "0", "size.width must be a whole number of pixels, 1 or more, got 0"),
        ("640", "640.5", "size.width must be a whole number of pixels"),
        ("size>", "extent>", "annotation must have a size"),
        ("bndbox>", "polygon>", r"object\[0\] must have a bndbox"),
        ("<xmax>1<", "<xmax>0<", r"object\[0\].bndbox must have xmin ≤ xmax"),
        ("11.0", "nan", r"object\[0\].bndbox.ymin must be a finite number, got 'nan'"),
        ("11.0", "1_1", r"object\[0\].bndbox.ymin must be a finite number, got '1_1'"),
        ("traffic light", " ", r"object\[0\].name must not be empty"),
        ("a.jpg", "../a.jpg", "must be relative and stay inside its folder"),
    ],
)
def test_a_bad_annotation_is_told(old: str, new: str, rule: str, tmp_path: Path) -> None:
    assert old in XML
    path = xml_file(tmp_path, XML.replace(old, new))
    with pytest.raises(FormatError, match=rule) as caught:
        read_voc(path)
    assert str(path) in str(caught.value)
