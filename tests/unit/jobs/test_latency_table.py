"""The family's latency table: what was published, how rows are made, and what the committed results show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bmodel.compiler.latency import analyse
from bmodel.compiler.schedule import read_schedule
from bmodel.errors import ConfigurationError
from jobs.build.latency_table.latency_rows import (
    PUBLISHED,
    Published,
    TableRow,
    make_row,
    render,
    write_tables,
)
from jobs.build.latency_table.make_latency_table import compile_family
from tests.helpers.paths import FIXTURES, ROOT

RESULTS = ROOT / "docs/results/latency.json"
SCHEDULE = FIXTURES / "schedules" / "tiny_int8_1b.dat"


def _committed() -> dict[tuple[str, int, str, int], TableRow]:
    rows = [TableRow.model_validate(row) for row in json.loads(RESULTS.read_text())["rows"]]
    return {(row.model, row.size, row.precision, row.batch): row for row in rows}


def test_every_published_network_was_compiled() -> None:
    assert list(_committed()) == [(item.model, item.size, item.precision, item.batch) for item in PUBLISHED]


def test_yolov7_is_predicted_as_it_was_when_the_correction_was_found() -> None:
    assert _committed()["yolov7", 640, "fp32", 1].predicted_ms == pytest.approx(80.7, abs=0.1)


def test_predictions_order_networks_as_the_write_up_does() -> None:
    committed = _committed()
    measured = [row for row in committed.values() if row.published_i_time_ms is not None]
    assert len(measured) == 4
    by_prediction = sorted(measured, key=lambda row: row.corrected_ms)
    assert by_prediction == sorted(measured, key=lambda row: row.published_i_time_ms or 0)
    assert [(row.model, row.size) for row in by_prediction] == [
        ("yolov7", 640),
        ("yolov7", 768),
        ("yolov7x", 640),
        ("yolov7-e6e", 1280),
    ]


def test_the_predicted_score_chooses_the_published_winner() -> None:
    scored = [row for row in _committed().values() if row.score_predicted is not None]
    first = max(scored, key=lambda row: row.score_predicted or 0)
    assert (first.model, first.size) == ("yolov7", 640)
    for row in scored:
        if row.score_published is not None:
            assert row.score_predicted == pytest.approx(row.score_published, abs=4)


def test_a_row_is_of_one_image() -> None:
    item = Published(
        model="m", size=64, input_px=64, precision="int8", batch=2, mean_ap50=0.5, bmrt_test_ms=0.05
    )
    report = analyse(read_schedule(SCHEDULE))
    row = make_row(item, report, 3.0)
    assert row.predicted_ms == pytest.approx(report.prediction.raw_ms / 2)
    assert row.corrected_ms == pytest.approx(row.predicted_ms / 0.885)
    assert row.ratio_to_bmrt_test == pytest.approx(row.predicted_ms / 0.05)
    assert row.ratio_to_i_time is None
    assert row.score_published is None
    assert row.score_predicted == pytest.approx(50 + (1000 - row.corrected_ms) * 0.1)


def test_sizes_are_rounded_up_to_the_largest_stride() -> None:
    sizes = {(item.model, item.size): item.input_px for item in PUBLISHED if item.precision == "fp32"}
    assert sizes["yolov7-e6e", 864] == 896
    assert all(px % 32 == 0 for px in sizes.values())
    assert {key for key, px in sizes.items() if key[1] != px} == {("yolov7-e6e", 864)}


def test_what_is_written_is_what_is_committed(tmp_path: Path) -> None:
    rows = list(_committed().values())
    write_tables(rows, tmp_path / "latency")
    assert (tmp_path / "latency.json").read_text() == RESULTS.read_text()
    assert (tmp_path / "latency.md").read_text() == render(rows) == RESULTS.with_suffix(".md").read_text()


def test_refuses_a_model_that_is_not_in_the_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--only: must be models of the table, got yolov9"):
        compile_family(tmp_path, only=["yolov9"], report=lambda _line: None)
