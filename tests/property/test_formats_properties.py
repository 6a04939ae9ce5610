"""What holds for every label file: written text reads back, and no text breaks a reader but by a FormatError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from data.columns import Scored
from data.competition_files import NamedLayout
from data.formats import (
    FormatError,
    format_competition,
    format_labels,
    format_voc,
    format_voc_truth,
    format_yolo,
    label_stems,
    match_labels,
    parse_named,
    parse_yolo,
    read_coco,
    read_voc,
    whole_pixels,
)
from data.yolo_labels import YoloLayout

NAMES = ("car", "traffic light", "bike")
SIZES_HW = st.tuples(st.integers(1, 4000), st.integers(1, 4000))
ON_FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def labelled(
    draw: st.DrawFn, *, whole: bool = False
) -> tuple[tuple[int, int], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """An image's size, and boxes inside it with confidences and classes."""
    height, width = draw(SIZES_HW)
    count = draw(st.integers(0, 6))
    ends = arrays.arrays(np.float64, (count, 2, 2), elements=st.floats(0, 1))
    corners = np.sort(draw(ends), axis=1) * np.array([width, height])
    xyxy = corners.reshape(-1, 4)
    if whole:
        xyxy = np.round(xyxy)
    confidence = draw(arrays.arrays(np.float32, count, elements=st.floats(0, 1, width=32)))
    class_id = draw(arrays.arrays(np.int32, count, elements=st.integers(0, 2)))
    return (height, width), xyxy, confidence, class_id


@given(labelled(), st.sampled_from(["yolo", "yolo-conf-second", "truth"]))
def test_yolo_labels_read_back(sample: Any, layout: YoloLayout) -> None:
    size_hw, xyxy, confidence, class_id = sample
    text = format_yolo(layout, xyxy, confidence, class_id, size_hw)
    read = parse_yolo(text, layout, place="a.txt", class_count=3)
    assert np.array_equal(read.class_id, class_id)
    assert np.abs(read.xyxy(size_hw) - xyxy).max(initial=0) < 1e-5
    if layout == "truth":
        assert (read.confidence == 1).all()
    else:
        assert np.array_equal(read.confidence.astype(np.float32), confidence)


@given(labelled(), st.none() | st.floats(0, 1e6))
def test_the_competitions_files_read_back(sample: Any, time_ms: float | None) -> None:
    _, xyxy, confidence, class_id = sample
    text = format_competition(xyxy, confidence, class_id, NAMES, time_ms)
    read = parse_named(text, "detections", place="a.txt")
    assert np.array_equal(whole_pixels(read.xyxy), whole_pixels(xyxy))
    assert np.array_equal(read.confidence.astype(np.float32), confidence)
    assert [name.replace("_", " ") for name in read.names] == [NAMES[index] for index in class_id]
    if time_ms is not None and len(class_id):
        assert read.time_ms == pytest.approx(time_ms, abs=1e-6)
    again = format_competition(read.xyxy, read.confidence, class_id, NAMES, read.time_ms)
    assert again == text


@given(labelled(whole=True))
def test_the_voc_tools_truth_reads_back(sample: Any) -> None:
    _, xyxy, _, class_id = sample
    read = parse_named(format_voc_truth(xyxy, class_id, NAMES), "truth", place="a.txt")
    assert np.array_equal(read.xyxy, xyxy)


@ON_FILES
@given(sample=labelled())
def test_annotations_read_back_to_half_a_pixel(sample: Any, tmp_path: Path) -> None:
    size_hw, xyxy, _, class_id = sample
    path = tmp_path / "a.xml"
    names = [NAMES[index] for index in class_id]
    path.write_text(format_voc(file_name="a.jpg", size_hw=size_hw, names=names, xyxy=xyxy), encoding="utf-8")
    read = read_voc(path)
    assert (read.size_hw, read.names) == (size_hw, tuple(names))
    assert np.abs(read.xyxy[:, :2] - xyxy[:, :2]).max(initial=0) <= 0.5
    grown = (read.xyxy[:, 2:] - read.xyxy[:, :2]) == 1  # a box keeps at least one pixel
    assert (grown | (np.abs(read.xyxy[:, 2:] - xyxy[:, 2:]) <= 0.5)).all()
    path.write_text(
        format_voc(file_name="a.jpg", size_hw=size_hw, names=names, xyxy=read.xyxy), encoding="utf-8"
    )
    assert np.array_equal(read_voc(path).xyxy, read.xyxy)


@given(labelled())
def test_no_label_file_says_more_than_there_is(sample: Any) -> None:
    size_hw, xyxy, confidence, class_id = sample
    for label_format in ("yolo", "yolo-conf-second", "truth", "competition"):
        text = format_labels(label_format, xyxy, confidence, class_id, size_hw, NAMES, 1.0)
        assert len(text.splitlines()) == len(class_id)


TOKENS = st.sampled_from(
    [
        "0",
        "1",
        "2",
        "-1",
        "0.5",
        "1.5",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1_0",
        "car",
        "traffic_light",
        "é",
        "",
        "0x1",
        "\ufeff",
    ]
)
LINES = st.lists(st.lists(TOKENS | st.text(max_size=5), max_size=9).map(" ".join), max_size=6).map("\n".join)


@given(LINES | st.text(), st.sampled_from(["yolo", "yolo-conf-second", "truth"]))
def test_no_text_breaks_the_reader_of_yolo_labels(text: str, layout: YoloLayout) -> None:
    problems: list[FormatError] = []
    read = parse_yolo(text, layout, place="a.txt", on_problem=problems.append)
    assert np.isfinite(read.cxcywh).all()
    assert (read.cxcywh[:, 2:] >= 0).all()
    assert ((read.confidence >= 0) & (read.confidence <= 1)).all()
    lines = [line for line in text.split("\n") if line.split()]
    assert len(read.class_id) + len(problems) == len(lines)


@given(LINES | st.text(), st.sampled_from(["detections", "truth"]))
def test_no_text_breaks_the_reader_of_named_boxes(text: str, layout: NamedLayout) -> None:
    problems: list[FormatError] = []
    read = parse_named(text, layout, place="a.txt", on_problem=problems.append)
    assert len(read.names) == len(read.confidence) == len(read.xyxy)
    assert (read.xyxy[:, 2:] >= read.xyxy[:, :2]).all()
    Scored(
        image=np.zeros(len(read.names), np.int32),
        class_id=np.zeros(len(read.names), np.int32),
        confidence=read.confidence.astype(np.float32),
        xyxy=read.xyxy.astype(np.float32),
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        key: JSON | st.integers(0, 3)
        for key in (
            "id",
            "file_name",
            "height",
            "width",
            "name",
            "image_id",
            "category_id",
            "bbox",
            "area",
            "iscrowd",
        )
    },
)
DOCUMENT = JSON | st.fixed_dictionaries(
    {key: st.lists(ENTRY | JSON, max_size=3) for key in ("images", "categories", "annotations")}
)


@ON_FILES
@given(document=DOCUMENT)
def test_no_document_breaks_the_reader_of_coco_json(document: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    try:
        coco = read_coco(path)
    except FormatError as error:
        assert str(path) in str(error)  # noqa: PT017 - most documents are bad, and a good one must read
    else:
        assert set(coco.box_image.tolist()) <= set(range(len(coco.image_ids)))


@ON_FILES
@given(
    content=st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: f"<annotation>{text}</annotation>".encode())
)
def test_no_bytes_break_the_reader_of_annotations(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.xml"):
        read_voc(path)


PATHS = st.lists(
    st.lists(
        st.sampled_from(["a", "b", "a.jpg", "a.png", "a.jpg.png", "b.tar.gz", ".hidden"]),
        min_size=1,
        max_size=3,
    ).map("/".join),
    unique=True,
    max_size=12,
)


@given(PATHS)
def test_every_image_finds_the_label_file_that_was_written_for_it(image_ids: list[str]) -> None:
    stems = label_stems(image_ids)
    assert len(set(stems)) == len(image_ids)
    assert match_labels(image_ids, set(stems), place="p") == dict(zip(image_ids, stems, strict=True))
