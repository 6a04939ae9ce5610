"""Runs that Raysail 0.1 wrote, or began, are read as today's: reported, scored, exported, resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from cluster.pool.results import IMAGES_SCHEMA, ShardResult
from cluster.pool.work import Shard
from jobs.commands.export import export_csv
from jobs.commands.labels import command as labels_command
from jobs.derive import evaluate_run
from jobs.measure.metrics import read_metrics
from jobs.plan.values import HostCosts, default_costs, read_costs
from jobs.report.page import report_page
from jobs.run.commit import CommitLog
from jobs.run.folder import open_run
from jobs.run.image_columns import read_images
from jobs.run.parquet import parquet_bytes, table_of
from jobs.run.store import LocalStore
from tests.helpers.paths import FIXTURES
from tests.helpers.run_rows import refs, rows_of

TRUTH = FIXTURES / "run-0.1-truth.json"
EXPECTED = FIXTURES / "run-0.1-expected"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    copy = tmp_path / "run"
    shutil.copytree(FIXTURES / "run-0.1", copy)
    return copy


def test_an_old_run_is_scored_with_the_same_figures(run: Path) -> None:
    expected = json.loads((EXPECTED / "evaluate.json").read_text())
    assert json.loads(evaluate_run(str(run), ground_truth=TRUTH).model_dump_json()) == expected


def test_evaluating_an_old_run_writes_metrics_of_the_present_schema(run: Path) -> None:
    before = json.loads((run / "metrics.json").read_text())
    assert before["schema_version"] == 1
    evaluate_run(str(run), ground_truth=TRUTH)
    after = json.loads((run / "metrics.json").read_text())
    assert after["schema_version"] == 2
    assert after["images"]["failures"] == {"read": 1}
    assert list(after["latency"]["stages"]) == ["read", "preprocess", "inference", "postprocess"]
    assert after["latency"]["stages"]["read"] == before["latency"]["stages"]["decode"]


def test_an_old_run_is_reported_with_its_failures_at_the_stage_read(run: Path) -> None:
    page = report_page(open_run(str(run)))
    assert "1 image of 7: 1 at read." in page
    assert "decode_ms" not in page


def test_an_old_run_is_exported_as_before_but_for_the_name_of_one_column(run: Path) -> None:
    export_csv(open_run(str(run)), run)
    assert (run / "detections.csv").read_bytes() == (EXPECTED / "export.detections.csv").read_bytes()
    header, *rows = (run / "images.csv").read_text().splitlines()
    assert '"read_ms"' in header
    assert "decode" not in header
    assert [row for row in rows if '"failed","read"' in row]


def test_label_files_of_an_old_run_are_the_same_again(run: Path, tmp_path: Path) -> None:
    labels_command(str(run), output=str(tmp_path / "again"))
    old = {path.relative_to(run / "labels"): path.read_bytes() for path in (run / "labels").rglob("*.txt")}
    new = tmp_path / "again"
    assert {path.relative_to(new): path.read_bytes() for path in new.rglob("*.txt")} == old
    assert len(old) == 6


def test_a_plan_takes_its_host_costs_from_an_old_run_or_an_old_table(run: Path, tmp_path: Path) -> None:
    costs = read_costs(run, default_costs())
    old_metrics = json.loads((FIXTURES / "run-0.1" / "metrics.json").read_text())
    assert costs.read_ms == old_metrics["latency"]["stages"]["decode"]["mean_ms"]
    table = default_costs().model_dump()
    table["decode_ms"] = table.pop("read_ms")
    (tmp_path / "costs.json").write_text(json.dumps(table))
    assert read_costs(tmp_path / "costs.json", default_costs()) == default_costs()
    assert "decode_ms" not in HostCosts.model_validate(table).model_dump()


def as_written_by_0_1(result: ShardResult) -> ShardResult:
    """The rows with the names that 0.1 gave them; ShardResult itself takes only today's."""
    images = result.images
    stage = ["decode" if value == "read" else value for value in images.column("stage").to_pylist()]
    place = images.schema.get_field_index("stage")
    images = images.set_column(place, images.schema.field("stage"), pa.array(stage, pa.string()))
    names = ["decode_ms" if name == "read_ms" else name for name in images.schema.names]
    old = object.__new__(ShardResult)
    object.__setattr__(old, "images", images.rename_columns(names))
    object.__setattr__(old, "detections", result.detections)
    return old


def test_a_run_that_0_1_began_and_this_version_resumed_has_parts_of_both_kinds(tmp_path: Path) -> None:
    log = CommitLog(LocalStore(tmp_path))
    images = refs(8)
    for shard, is_old in ((Shard(0, 4), True), (Shard(4, 8), False)):
        result = rows_of(images[shard.start : shard.stop], failed={1, 6})
        log.add(shard, as_written_by_0_1(result) if is_old else result, 1)
    again = CommitLog(LocalStore(tmp_path))
    again.drop_damaged()
    assert again.voided == []
    tables = list(again.tables("images"))
    assert all(table.schema == IMAGES_SCHEMA for table in tables)
    stages = [stage for table in tables for stage in table.column("stage").to_pylist()]
    assert stages == [None, "read", None, None, None, None, "read", None]
    columns = read_images(tables).columns
    assert columns.stages["read"].tolist() == [1.0] * 8
    assert [failed.stage for failed in columns.failed] == ["read", "read"]


def test_parts_with_todays_names_are_read_as_they_are() -> None:
    table = rows_of(refs(3), failed={2}).images
    assert table_of(parquet_bytes(table).data.to_pybytes(), IMAGES_SCHEMA).equals(table)


def test_old_names_of_temperatures_are_read(run: Path) -> None:
    content = json.loads((run / "metrics.json").read_text())
    content["health"] = [
        {
            "card": "host/0",
            "state": "ok",
            "samples": 2,
            "unanswered": 0,
            "slowed_samples": 0,
            "chip_celsius_max": 52,
            "chip_celsius_mean": 51.5,
            "board_celsius_max": 41,
            "memory_used_mb_max": 7,
            "utilisation_percent_mean": 9.0,
        }
    ]
    (run / "metrics.json").write_text(json.dumps(content))
    health = read_metrics(open_run(str(run))).health
    assert health is not None
    [card] = health
    assert (card.chip_temperature_c_max, card.chip_temperature_c_mean) == (52, 51.5)
    assert card.board_temperature_c_max == 41
