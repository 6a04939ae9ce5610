"""The table and the picture of a sweep: every point is in them, as what it is, and at its place."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from jobs.measure.score import competition_score
from jobs.report.format import NONE
from jobs.study.sweep_picture import Mark, marks_of, picture, place_labels
from jobs.study.sweep_points import Figures, Predicted, Row, make_row, points_of, ranked
from jobs.study.sweep_table import SweepResult, counts, sweep_csv, sweep_page
from tests.helpers.sweep_files import read_sweep, sweep_content

SVG = "{http://www.w3.org/2000/svg}"


def study_rows(folder: Path) -> list[Row]:
    """Eight points: two ran, one failed, two are predicted, three missing."""
    content = sweep_content(folder)
    content["published"] = [
        {"model": "tiny", "size": "64x96", "map50": 0.6, "i-time-ms": 110, "score": 149, "note": "a | b"},
        {"model": "tiny", "size": "64x96", "precision": "int8", "map50": 0.58},
    ]
    study = read_sweep(folder, content)
    points = points_of(study)

    def ran(map50: float, ms: float) -> Figures:
        return Figures(
            map50=map50,
            map_protocol="yolo",
            i_time_ms=ms,
            i_time_source="predicted by the compiler's schedule",
            score=competition_score(map50, ms),
            device="simulator",
            images=5,
            failed=1,
            run="result/x",
        )

    predicted = Predicted(ms=80.0, uncertainty_ms=4.0)
    rows = [
        make_row(
            points[0],
            study,
            status="run",
            figures=ran(0.61, 120.0),
            predicted=predicted,
            reason="1 of 5 images failed",
        ),
        make_row(points[1], study, status="predicted", predicted=predicted, reason="bmcv needs device sail"),
        make_row(points[2], study, status="run", figures=ran(0.60, 100.0)),
        make_row(points[3], study, status="failed", reason="the card died"),
        make_row(points[4], study, status="predicted", predicted=predicted, reason="no weights"),
        *(make_row(point, study, status="missing", reason="'x.bmodel' is not there") for point in points[5:]),
    ]
    return ranked(rows)


def test_csv_has_every_point_in_order_and_no_figure_that_nobody_found(tmp_path: Path) -> None:
    rows = study_rows(tmp_path)
    table = list(csv.DictReader(io.StringIO(sweep_csv(rows))))
    assert [row["status"] for row in table] == [row.status for row in rows]
    assert [row["rank"] for row in table] == ["2", "", "1", "", "", "", "", ""]
    assert [row["score"] for row in table if row["status"] != "run"] == [""] * 6
    assert [row["map50"] for row in table if row["status"] != "run"] == [""] * 6
    first = table[0]
    assert (first["height"], first["width"], first["precision"], first["batch"]) == ("64", "96", "fp32", "1")
    assert float(first["published_score_computed"]) == pytest.approx(149)
    assert first["i_time_source"] == "predicted by the compiler's schedule"
    assert float(table[4]["outlook_score"]) == pytest.approx(58 + 92)


def test_json_holds_the_same_points(tmp_path: Path) -> None:
    result = SweepResult(title="In small", points=tuple(study_rows(tmp_path)))
    assert SweepResult.model_validate_json(result.model_dump_json()) == result


def section(page: str, title: str) -> list[list[str]]:
    _, _, behind = page.partition(f"## {title}\n\n")
    part, _, _ = behind.partition("\n\n")
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in part.splitlines()]


def test_the_page_ranks_what_ran_and_gives_the_reason_for_the_rest(tmp_path: Path) -> None:
    page = sweep_page(SweepResult(title="In small", points=tuple(study_rows(tmp_path))), make="compile it")
    assert "8 points: 2 run, 2 predicted, 3 missing, 1 failed." in page
    head, _, *ran = section(page, "What ran")
    assert [row[head.index("score")] for row in ran] == ["150.00", "149.00"]
    assert [row[head.index("rank")] for row in ran] == ["1", "2"]
    assert ran[0][head.index("source")] == "predicted by the compiler's schedule (simulator)"
    assert ran[1][head.index("published score")] == "149.00"
    assert ran[1][head.index("note")] == "1 of 5 images failed"
    head, _, *published = section(page, "Beside what was published")
    assert [row[head.index("computed")] for row in published] == ["149.00", NONE]
    assert [row[head.index("outlook")] for row in published] == ["152.00", "150.00"]
    assert published[0][-1] == r"a \| b"
    head, _, *others = section(page, "What did not run")
    assert [row[head.index("why not")] for row in others] == [
        *("bmcv needs device sail", "the card died", "no weights"),
        *["'x.bmodel' is not there"] * 3,
    ]
    assert {len(row) for row in others} == {len(head)}
    assert page.endswith("Networks that are not there: compile it.\n")


def test_counts_name_what_there_is(tmp_path: Path) -> None:
    assert counts(study_rows(tmp_path)) == "2 run, 2 predicted, 3 missing, 1 failed"
    assert counts([]) == ""


def test_marks_are_what_has_an_accuracy_and_a_time(tmp_path: Path) -> None:
    marks = marks_of(study_rows(tmp_path))
    assert [(mark.kind, mark.ms, mark.map50) for mark in marks] == [
        ("run", 120.0, 0.61),
        ("published", 110.0, 0.6),
        ("run", 100.0, 0.60),
        ("outlook", 80.0, 0.58),
    ]
    assert [mark.label for mark in marks] == ["fp32 b1", "fp32 b1", "fp32 b4", "int8 b1"]


def test_marks_stand_where_their_figures_are(tmp_path: Path) -> None:
    drawn = picture(study_rows(tmp_path), title="In <small>")
    assert drawn is not None
    tree = ET.fromstring(drawn)  # noqa: S314 - our own
    assert tree.get("aria-label") == "In <small>"
    circles = {
        (one.get("class"), float(str(one.get("cx"))), float(str(one.get("cy"))))
        for group in tree.findall(f"{SVG}g")
        for one in group.findall(f"{SVG}circle")
    }
    assert len(circles) == 3
    runs = sorted((x, y) for kind, x, y in circles if kind == "mark run")
    (fast_x, fast_y), (slow_x, slow_y) = runs
    assert fast_x < slow_x
    assert fast_y > slow_y  # down the page is less accurate
    [(x, y)] = [(x, y) for kind, x, y in circles if kind == "mark published"]
    assert x == pytest.approx((fast_x + slow_x) / 2, abs=0.2)
    assert y == pytest.approx(fast_y, abs=0.2)
    fronts = [one.get("class") for one in tree.findall(f"{SVG}polyline")]
    assert fronts == ["front run"]


def test_points_on_a_line_have_its_score(tmp_path: Path) -> None:
    """Read the axes' own ticks, and see that both ends of each line have the score that stands beside it."""
    drawn = picture(study_rows(tmp_path), title="x")
    assert drawn is not None
    tree = ET.fromstring(drawn)  # noqa: S314 - our own
    texts = [(one.text or "", one) for one in tree.findall(f"{SVG}text")]
    grid = [one for one in tree.findall(f"{SVG}line") if one.get("class") == "grid"]
    across = [(float(str(one.get("x1"))), float(text)) for one, text in _ticks(grid, texts, vertical=True)]
    upwards = [(float(str(one.get("y1"))), float(text)) for one, text in _ticks(grid, texts, vertical=False)]
    names = [
        float((one.text or "").removeprefix("score ")) for _, one in texts if one.get("class") == "score-name"
    ]
    lines = [one for one in tree.findall(f"{SVG}line") if one.get("class") == "score"][
        1:
    ]  # the legend's is first
    assert len(names) == len(lines) >= 3
    for name, one in zip(names, lines, strict=True):
        for end in "12":
            ms = _value(float(str(one.get(f"x{end}"))), across)
            map_percent = _value(float(str(one.get(f"y{end}"))), upwards)
            assert competition_score(map_percent / 100, ms) == pytest.approx(name, abs=0.03)


def _ticks(
    grid: list[ET.Element], texts: list[tuple[str, ET.Element]], *, vertical: bool
) -> list[tuple[ET.Element, str]]:
    lines = [one for one in grid if (one.get("x1") == one.get("x2")) == vertical]
    anchor = "middle" if vertical else "end"
    labels = [
        text
        for text, one in texts
        if one.get("text-anchor") == anchor and re.fullmatch(r"[\d.]+", text) and one.get("class") is None
    ]
    assert len(lines) == len(labels) >= 3
    return list(zip(lines, labels, strict=True))


def _value(px: float, ticks: list[tuple[float, float]]) -> float:
    (first_px, first), *_, (last_px, last) = ticks
    return first + (px - first_px) / (last_px - first_px) * (last - first)


def test_without_accuracy_there_is_nothing_to_draw(tmp_path: Path) -> None:
    study = read_sweep(tmp_path, sweep_content(tmp_path))
    rows = [make_row(point, study, status="missing") for point in points_of(study)]
    assert picture(rows, title="x") is None
    assert "What ran" not in sweep_page(SweepResult(title="x", points=tuple(rows)))


def test_one_point_alone_is_drawn(tmp_path: Path) -> None:
    drawn = picture(study_rows(tmp_path)[:1], title="x")
    assert drawn is not None
    assert "nan" not in drawn


def test_a_mark_says_its_figures() -> None:
    mark = Mark(kind="published", ms=102.0, map50=0.774, label="yolov7 640")
    assert mark.title == "yolov7 640: mAP 0.7740, 102.00 ms, score 167.20 (published)"


def test_names_of_near_points_do_not_cover_each_other() -> None:
    places = [(100.0, 100.0), (104.0, 100.0), (150.0, 103.0), (395.0, 100.0)]
    texts = ["yolov7 640"] * 4
    boxes = []
    for label, text in zip(place_labels(places, texts, inside=(0, 0, 400, 300)), texts, strict=True):
        width = 6.6 * len(text)
        left = label.x - {"start": 0, "middle": width / 2, "end": width}[label.anchor]
        assert 0 <= left <= left + width <= 400
        boxes.append((left, label.y - 11, left + width, label.y + 3))
    for one in boxes:
        others = [other for other in boxes if other is not one]
        assert not any(
            one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
            for other in others
        )
