"""YOLO labels and the competition's files, line by line: what is read, what is written, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from data.formats import (
    FormatError,
    LabelFormat,
    format_labels,
    format_voc_truth,
    mean_time_ms,
    parse_named,
    parse_yolo,
    read_text,
    whole_pixels,
)
from data.yolo_labels import YoloLayout

NAMES = ("car", "traffic light", "bike")
XYXY = np.array([[64.5, 120.0, 192.5, 240.0], [-3.4, 0.0, 640.0, 480.0]], np.float32)
CONFIDENCE = np.array([0.9, 0.0010001], np.float32)
CLASS_ID = np.array([0, 1], np.int32)
SIZE_HW = (480, 640)


def written(label_format: LabelFormat, time_ms: float | None = 102.918386) -> str:
    return format_labels(label_format, XYXY, CONFIDENCE, CLASS_ID, SIZE_HW, NAMES, time_ms)


def test_yolo_has_the_confidence_last() -> None:
    first, second = written("yolo").splitlines()
    assert first == "0 0.20078125 0.375 0.2 0.25 0.899999976"
    assert second.split()[0] == "1"
    assert np.float32(second.split()[5]) == CONFIDENCE[1]


def test_yolo_conf_second_has_the_confidence_second() -> None:
    assert written("yolo-conf-second").splitlines()[0] == "0 0.899999976 0.20078125 0.375 0.2 0.25"


def test_truth_has_no_confidence() -> None:
    assert written("truth").splitlines()[0] == "0 0.20078125 0.375 0.2 0.25"


def test_the_competitions_lines() -> None:
    assert written("competition").splitlines() == [
        "car 0.899999976 65 121 193 241 102.918386",
        "traffic_light 0.00100010005 -2 1 641 481 102.918386",
    ]
    assert written("competition", None).splitlines()[0] == "car 0.899999976 65 121 193 241"


@pytest.mark.parametrize("label_format", ["yolo", "yolo-conf-second", "truth", "competition", "none"])
def test_no_detections_make_an_empty_file(label_format: LabelFormat) -> None:
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    assert format_labels(label_format, *nothing, SIZE_HW, NAMES, 1.0) == ""


def test_none_writes_nothing() -> None:
    assert written("none") == ""


def test_whole_pixels_are_truncated_towards_zero_and_counted_from_one() -> None:
    edges = np.array([[-0.9, 0.0, 0.99, 1.0], [-1.0, -2.5, 639.999, 640.0]])
    assert whole_pixels(edges).tolist() == [[1, 1, 1, 2], [0, -1, 640, 641]]


@pytest.mark.parametrize("layout", ["yolo", "yolo-conf-second"])
def test_what_is_written_reads_back(layout: YoloLayout) -> None:
    read = parse_yolo(written(layout), layout, place="a.txt", class_count=3)
    assert read.class_id.tolist() == [0, 1]
    assert read.class_id.dtype == np.int32
    assert np.array_equal(read.confidence.astype(np.float32), CONFIDENCE)
    assert np.abs(read.xyxy(SIZE_HW) - XYXY).max() < 1e-6


def test_the_competitions_files_read_back() -> None:
    read = parse_named(written("competition"), "detections", place="a.txt")
    assert read.names == ("car", "traffic_light")
    assert np.array_equal(read.confidence.astype(np.float32), CONFIDENCE)
    assert np.array_equal(whole_pixels(read.xyxy), whole_pixels(XYXY))
    assert read.time_ms == 102.918386


def test_the_voc_tools_truth_reads_back() -> None:
    text = format_voc_truth(XYXY, CLASS_ID, NAMES)
    assert text == "car 65 121 193 241\ntraffic_light -2 1 641 481\n"
    read = parse_named(text, "truth", place="a.txt")
    assert np.array_equal(whole_pixels(read.xyxy), whole_pixels(XYXY))
    assert read.confidence.tolist() == [1, 1]


TIDY = "0 0.5 0.5 0.25 0.125\n2 0.1 0.2 0.05 0.1\n"


@pytest.mark.parametrize(
    "text",
    [
        TIDY,
        TIDY.replace("\n", "\r\n"),
        TIDY.replace("\n", "\r"),
        "\ufeff" + TIDY,
        TIDY.strip(),
        "\n\n" + TIDY.replace("\n", "  \n \t\n"),
        TIDY.replace(" ", "\t"),
        TIDY.replace("0.5", "5e-1"),
        TIDY.replace("\n2 ", "\n2.0 "),
    ],
    ids=["tidy", "CRLF", "CR", "BOM", "no last line end", "blank lines", "tabs", "exponents", "2.0 for 2"],
)
def test_untidy_files_say_the_same(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    read = parse_yolo(read_text(path), "truth", place="a.txt", class_count=3)
    assert read.class_id.tolist() == [0, 2]
    assert read.cxcywh.tolist() == [[0.5, 0.5, 0.25, 0.125], [0.1, 0.2, 0.05, 0.1]]


GOOD = "0 0.5 0.5 0.2 0.2"

BAD_YOLO: list[tuple[YoloLayout, str, str]] = [
    ("truth", "0 0.5 0.5 0.2", "a line must be `class cx cy w h`, got 4 fields"),
    ("truth", "0 0.5 0.5 0.2 0.2 0.9", "a line must be `class cx cy w h`, got 6 fields"),
    ("yolo", "0 0.5 0.5 0.2 0.2", "a line must be `class cx cy w h confidence`, got 5 fields"),
    ("truth", "0 nan 0.5 0.2 0.2", "a value must be a finite number, got 'nan'"),
    ("truth", "0 0.5 inf 0.2 0.2", "a value must be a finite number, got 'inf'"),
    ("truth", "0 0.5 -Infinity 0.2 0.2", "a value must be a finite number, got '-Infinity'"),
    ("truth", "0 0.5 1e999 0.2 0.2", "a value must be a finite number, got '1e999'"),
    ("truth", "0 0,5 0.5 0.2 0.2", "a value must be a finite number, got '0,5'"),
    ("truth", "1_0 0.5 0.5 0.2 0.2", "a value must be a finite number, got '1_0'"),
    ("truth", "car 0.5 0.5 0.2 0.2", "a value must be a finite number, got 'car'"),
    ("truth", "3 0.5 0.5 0.2 0.2", "class must be a whole number from 0 to 2, got 3"),
    ("truth", "-1 0.5 0.5 0.2 0.2", "class must be a whole number from 0 to 2, got -1"),
    ("truth", "0.5 0.5 0.5 0.2 0.2", "class must be a whole number from 0 to 2, got 0.5"),
    ("truth", "1e300 0.5 0.5 0.2 0.2", "class must be a whole number from 0 to 2, got 1e+300"),
    ("truth", "0 0.5 0.5 -0.2 0.2", "w must be a fraction of the image from 0 to 1, got -0.2"),
    ("truth", "0 0.5 0.5 0.2 -1e-3", "h must be a fraction of the image from 0 to 1, got -0.001"),
    ("truth", "0 320 240 64 48", "cx must be a fraction of the image"),
    ("truth", "0 0.5 1.1 0.2 0.2", "cy must be a fraction of the image"),
    ("yolo", "0 0.5 0.5 0.2 0.2 1.5", "confidence must lie in 0 to 1, got 1.5"),
    ("yolo-conf-second", "0 -0.1 0.5 0.5 0.2 0.2", "confidence must lie in 0 to 1, got -0.1"),
    ("yolo", "0 0.5 240 0.2 0.2 0.9", "cy must be a fraction of the image from -1 to 3, got 240"),
]


@pytest.mark.parametrize(("layout", "line", "rule"), BAD_YOLO)
def test_a_bad_yolo_line_is_told_by_file_line_rule_and_value(
    layout: YoloLayout, line: str, rule: str
) -> None:
    good = {"truth": GOOD, "yolo": f"{GOOD} 0.9", "yolo-conf-second": "0 0.9 0.5 0.5 0.2 0.2"}[layout]
    text = f"{good}\n\n{line}\n{good}\n"
    with pytest.raises(FormatError) as caught:
        parse_yolo(text, layout, place="labels/a.txt", class_count=3)
    assert str(caught.value).startswith("labels/a.txt:3: ")
    assert rule in str(caught.value)
    problems: list[FormatError] = []
    read = parse_yolo(text, layout, place="labels/a.txt", class_count=3, on_problem=problems.append)
    assert len(read.class_id) == 2
    assert [str(problem) for problem in problems] == [str(caught.value)]


def test_every_bad_line_is_told_once() -> None:
    text = "0 0.5 0.5 0.2\n9 7 7 -1 -1\n0 x y 0.1 0.1\n0 0.5 0.5 0.1 0.1\n"
    problems: list[FormatError] = []
    read = parse_yolo(text, "truth", place="a.txt", class_count=3, on_problem=problems.append)
    assert len(read.class_id) == 1
    assert sorted(str(problem).split(": ")[0] for problem in problems) == ["a.txt:1", "a.txt:2", "a.txt:3"]


def test_without_class_names_a_number_is_still_no_class_when_it_is_huge() -> None:
    assert parse_yolo("65535 0.5 0.5 0.1 0.1", "truth", place="a.txt").class_id.tolist() == [65535]
    with pytest.raises(FormatError, match="class must be a whole number from 0 to 65535, got 65536"):
        parse_yolo("65536 0.5 0.5 0.1 0.1", "truth", place="a.txt")


BAD_NAMED = [
    ("car 0.9 1 1 10", "got 5 fields"),
    ("traffic light 0.9 1 1 10 10 5.0", "got 8 fields"),
    ("car 0.9 1 1 10 10 5.0 extra", "got 8 fields"),
    ("car high 1 1 10 10", "a value must be a finite number, got 'high'"),
    ("car 1.2 1 1 10 10", "confidence must lie in 0 to 1, got 1.2"),
    ("car 0.9 1.5 1 10 10", "left must be a whole number of pixels, got 1.5"),
    ("car 0.9 1 1 10 99999999", "bottom must be a whole number of pixels, got 99999999"),
    ("car 0.9 10 1 9 10", "right must not be less than left, got 9"),
    ("car 0.9 1 10 10 9", "bottom must not be less than top, got 9"),
    ("car 0.9 1 1 nan 10", "a value must be a finite number, got 'nan'"),
]


@pytest.mark.parametrize(("line", "rule"), BAD_NAMED)
def test_a_bad_line_of_the_competitions_is_told(line: str, rule: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_named(f"car 0.9 1 1 10 10\n{line}\n", "detections", place="a.txt")
    assert str(caught.value).startswith("a.txt:2: ")
    assert rule in str(caught.value)


def test_names_are_checked_against_those_that_may_occur() -> None:
    assert parse_named("car 1 1 2 2", "truth", place="a.txt", known={"car"}).names == ("car",)
    with pytest.raises(FormatError, match=r"a.txt:1: class_name must be one of 'car', got 'Car'"):
        parse_named("Car 1 1 2 2", "truth", place="a.txt", known={"car"})


@pytest.mark.parametrize(
    ("second", "rule"),
    [
        ("5.5", r"a.txt:2: time_cost_ms must be 5 as on the lines before, got 5.5"),
        ("-5", r"a.txt:2: time_cost_ms must not be negative, got -5"),
        ("inf", r"a.txt:2: a value must be a finite number, got 'inf'"),
    ],
)
def test_the_time_is_one_and_the_same_on_all_lines(second: str, rule: str) -> None:
    with pytest.raises(FormatError, match=rule):
        parse_named(f"car 0.9 1 1 2 2 5\ncar 0.8 1 1 2 2 {second}\n", "detections", place="a.txt")


def test_i_time_is_the_mean_over_images_not_over_lines() -> None:
    crowded = parse_named("car 0.9 1 1 2 2 40\n" * 9, "detections", place="a.txt")
    lonely = parse_named("car 0.9 1 1 2 2 20\n", "detections", place="b.txt")
    silent = parse_named("car 0.9 1 1 2 2\n", "detections", place="c.txt")
    empty = parse_named("", "detections", place="d.txt")
    assert mean_time_ms(boxes.time_ms for boxes in (crowded, lonely, silent, empty)) == 30
    assert mean_time_ms([silent.time_ms, empty.time_ms]) is None


def test_a_long_file_is_read_whole() -> None:
    lines = 100_000
    read = parse_yolo(f"{GOOD}\n" * lines, "truth", place="a.txt")
    assert len(read.class_id) == lines


def test_the_error_survives_pickling() -> None:
    error = FormatError("a.txt:1: rule, got value")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - its own bytes
