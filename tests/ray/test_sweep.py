"""A sweep through real runs: what can run does, once; the rest is predicted or missing, and a failure is its own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.helpers.job_runs import metrics, run_here
from tests.helpers.reproduction_files import image_set, write_yaml
from tests.helpers.sweep_files import sweep_content
from tests.ray.conftest import SharedCluster


@pytest.fixture(scope="module")
def study(cluster: SharedCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep that ran once, on the CPU: two of its eight points."""
    folder = image_set(tmp_path_factory.mktemp("study"))
    content = sweep_content(folder)
    content["options"]["address"] = cluster.address
    content["published"] = [{"model": "tiny", "size": "64x96", "map50": 0.5, "i-time-ms": 10, "score": 149}]
    done = run_here("sweep", write_yaml(folder / "sweep.yaml", content))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("# In small\n\n8 points: 2 run, 6 predicted.")
    return folder


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "sweep" / "sweep.csv").open(newline="") as file:
        return {
            f"{row['precision']}-{row['batch']}b-{row['preprocess']}": row for row in csv.DictReader(file)
        }


def test_figures_are_those_of_the_runs(study: Path) -> None:
    rows = table(study)
    assert [name for name, row in rows.items() if row["status"] == "run"] == [
        "fp32-1b-opencv",
        "fp32-4b-opencv",
    ]
    for batch in (1, 4):
        row = rows[f"fp32-{batch}b-opencv"]
        found = metrics(study / "sweep" / f"tiny-64x96-fp32-{batch}b-opencv")
        assert float(row["map50"]) == found["map"]["yolo"]["ap50"]
        assert float(row["i_time_ms"]) == found["latency"]["i_time_ms"]
        assert row["i_time_source"] == "predicted by the compiler's schedule"
        assert float(row["score"]) == found["score"]
        assert row["device"] == "cpu"
        assert found["model"]["batch"] == batch
    assert sorted(row["rank"] for row in rows.values() if row["rank"]) == ["1", "2"]


def test_what_did_not_run_has_a_reason_and_no_figures(study: Path) -> None:
    for name, row in table(study).items():
        if row["status"] != "run":
            assert row["reason"], name
            assert (row["map50"], row["i_time_ms"], row["score"], row["rank"]) == ("", "", "", "")
            assert float(row["predicted_ms"]) > 0


def test_page_json_and_picture_lie_beside_the_table(study: Path) -> None:
    found = json.loads((study / "sweep" / "sweep.json").read_text())
    assert len(found["points"]) == 8
    page = (study / "sweep" / "sweep.md").read_text()
    assert "](sweep.svg)" in page
    assert (study / "sweep" / "sweep.svg").read_text().startswith("<svg")


def test_a_second_time_nothing_runs_again(study: Path, cluster: SharedCluster) -> None:
    runs = [study / "sweep" / f"tiny-64x96-fp32-{batch}b-opencv" for batch in (1, 4)]
    before = [(run / "commits.jsonl").stat().st_mtime_ns for run in runs]
    for option in ((), ("--list",)):
        done = run_here("sweep", study / "sweep.yaml", *option)
        assert done.returncode == 0, done.stderr
        assert "8 points: 2 run, 6 predicted." in done.stdout
    assert [(run / "commits.jsonl").stat().st_mtime_ns for run in runs] == before


def test_a_point_that_fails_is_told_and_the_others_run(cluster: SharedCluster, tmp_path: Path) -> None:
    folder = image_set(tmp_path)
    content = sweep_content(folder)
    content["options"]["address"] = cluster.address
    content |= {"precision": ["fp32"], "preprocess": ["opencv"]}
    # Where the first point's run should go lies somebody else's file.
    foreign = folder / "sweep" / "tiny-64x96-fp32-1b-opencv"
    foreign.mkdir(parents=True)
    (foreign / "notes.txt").write_text("mine")
    done = run_here("sweep", write_yaml(folder / "sweep.yaml", content))
    assert done.returncode == 1
    rows = table(folder)
    assert (rows["fp32-1b-opencv"]["status"], rows["fp32-4b-opencv"]["status"]) == ("failed", "run")
    assert "must be empty or a run" in rows["fp32-1b-opencv"]["reason"]
    assert (foreign / "notes.txt").read_text() == "mine"
