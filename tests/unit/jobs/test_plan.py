"""`raysail plan`: what it takes, what it refuses in one line, where its figures come from, and what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bmodel.errors import ConfigurationError, RunError
from bmodel.sidecar import read_sidecar, sidecar_path
from jobs.plan.fleet_model import FULL
from jobs.plan.fleet_plan import FleetPlan, card_of, costs_of, make_plan, page
from jobs.plan.plan_options import parse_options
from jobs.plan.validate import table
from jobs.plan.values import default_costs, read_costs
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tests.helpers.report_runs import MadeUp, make_run

BMODEL = ROOT / "bmodel" / "tiny_int8_4b.bmodel"
TABLE = ROOT / "docs" / "results" / "latency.json"


def planned(**given: Any) -> FleetPlan:
    options = parse_options(
        {name.replace("_", "-"): value for name, value in {"predictions": TABLE, **given}.items()}
    )
    card, spec = card_of(options)
    return make_plan(options, costs_of(options, spec), card)


@pytest.mark.parametrize("model", [BMODEL, sidecar_path(BMODEL)], ids=["bmodel", "sidecar"])
def test_a_sidecars_prediction_is_the_cards_time_an_image(model: Path) -> None:
    spec = read_sidecar(sidecar_path(BMODEL))
    assert spec.latency is not None
    card = planned(images=1000, model=str(model)).card
    assert card.image_ms == spec.latency.corrected_ms / 4
    assert card.uncertainty_ms == spec.latency.uncertainty_ms / 4
    assert (card.batch, card.precision, card.input_hw) == (4, "int8", spec.input_hw)
    assert card.source == "predicted by the compiler's schedule"


def test_the_familys_table_is_asked_by_name_size_precision_and_batch() -> None:
    rows = json.loads(TABLE.read_text(encoding="utf-8"))["rows"]
    for row in rows:
        plan = planned(
            images=10**6, model=row["model"], size=row["size"], precision=row["precision"], batch=row["batch"]
        )
        assert plan.card.image_ms == row["corrected_ms"]
        assert plan.card.uncertainty_ms == row["uncertainty_ms"]
        assert "measured" not in plan.card.source


def test_a_given_time_is_called_given() -> None:
    plan = planned(images=1000, i_time="102")
    assert (plan.card.image_ms, plan.card.source, plan.card.uncertainty_ms) == (102, "given", 0)
    assert plan.images_per_s_low == plan.images_per_s_high == pytest.approx(plan.images_per_s)
    assert "±" not in page(plan)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"i-time": "100"}, "--images: is required"),
        (
            {"images": "many", "i-time": "100"},
            "--images: must be a whole number like 250000 or 1e8, got 'many'",
        ),
        ({"images": "0", "i-time": "100"}, "--images: must be greater than or equal to 1, got 0"),
        ({"images": "1.5", "i-time": "100"}, "--images: must be a whole number"),
        ({"images": "-3", "i-time": "100"}, "--images: must be a whole number"),
        ({"images": "5"}, "--model: exactly one of --model and --i-time is required"),
        (
            {"images": "5", "i-time": "9", "model": "x"},
            "--model: exactly one of --model and --i-time is required",
        ),
        ({"images": "5", "i-time": "-1"}, "--i-time: must be greater than 0"),
        ({"images": "5", "i-time": "nan"}, "--i-time: must be a finite number"),
        (
            {"images": "5", "i-time": "9", "image-size": "1080"},
            "--image-size: must be HEIGHTxWIDTH in pixels",
        ),
        ({"images": "5", "i-time": "9", "image-size": "0x7"}, "--image-size: must be HEIGHTxWIDTH in pixels"),
        ({"images": "5", "i-time": "9", "cards-per-host": "0"}, "--cards-per-host: must be greater"),
        (
            {"images": "5", "i-time": "9", "cores-per-host": "none"},
            "--cores-per-host: must be a valid number",
        ),
        (
            {"images": "5", "i-time": "9", "precision": "fp16"},
            "--precision: must be 'fp32', 'int8' or 'mixed'",
        ),
        ({"images": "5", "i-time": "9", "runs": "6"}, "--runs: must be at most the number of images, got 6"),
        (
            {"images": "5", "i-time": "9", "measure": "x", "host-costs": "y"},
            "--measure: cannot be combined with",
        ),
    ],
)
def test_a_wrong_option_is_one_line(given: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_options(given)
    assert str(refused.value).startswith(words)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"model": "yolov9"},
            r"--model: 'yolov9 640 fp32 1b' is no file and not in the table, which has yolov7",
        ),
        ({"model": "yolov7", "batch": "3"}, r"--model: 'yolov7 640 fp32 3b' is no file and not in the table"),
        ({"model": "gone.bmodel"}, r"--model: must be a model file, .* and 'gone.bmodel' is not there"),
        (
            {"model": str(ROOT / "models" / "tiny.onnx")},
            r"--model: has no predicted latency, so give .* --i-time",
        ),
        ({"model": str(ROOT / "README.md")}, r"--model: must end in \.bmodel, \.onnx or \.spec\.json"),
        (
            {"i_time": "9", "host_costs": "gone"},
            r"--host-costs: must be a table, a run .* 'gone' is not there",
        ),
        (
            {"i_time": "9", "host_costs": str(ROOT / "pyproject.toml")},
            r"--host-costs: must be a table of host costs",
        ),
        (
            {"i_time": "9", "measure": "gone"},
            r"--measure: must be images on this machine, and 'gone' is not there",
        ),
        ({"i_time": "9", "save_costs": "/nowhere/x.json"}, r"--save-costs: cannot write '/nowhere/x\.json'"),
    ],
)
def test_what_a_file_lacks_is_one_line(given: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        planned(images="5", **given)


def test_a_runs_stage_times_are_the_hosts(tmp_path: Path) -> None:
    run = make_run(tmp_path, MadeUp(failed=(3,)))
    metrics = json.loads(run.store.read("metrics.json"))
    for place in (tmp_path / "run", tmp_path / "run" / "metrics.json"):
        costs = read_costs(place, default_costs())
        assert costs.read_ms == metrics["latency"]["stages"]["read"]["mean_ms"]
        assert costs.postprocess_ms == metrics["latency"]["stages"]["postprocess"]["mean_ms"]
        assert costs.image_megapixels == pytest.approx(240 * 320 / 1e6)
        assert costs.source.startswith(f"stage times of the run '{tmp_path / 'run'}', wall time")
    (tmp_path / "run" / "metrics.json").write_text("{}")
    with pytest.raises(RunError, match=r"device: Field required"):
        read_costs(tmp_path / "run", default_costs())


def test_a_saved_table_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    costs = default_costs().model_copy(update={"read_ms": 77.0, "source": "a test"})
    path.write_text(costs.model_dump_json())
    assert read_costs(path, default_costs()) == costs
    saved = tmp_path / "again.json"
    plan = planned(images=10, i_time=10, host_costs=str(path), save_costs=str(saved))
    assert read_costs(saved, default_costs()) == costs
    assert plan.costs.read_ms == 77.0


def test_the_shipped_table_says_where_it_was_measured() -> None:
    source = default_costs().source
    assert "measured" in source
    assert "--measure" in source


def test_larger_images_cost_the_host_more_and_the_card_nothing() -> None:
    small, large = (
        planned(images=10**6, model="yolov7", image_size=size, cards_per_host=3)
        for size in ("540x960", "2160x3840")
    )
    assert large.costs.read_ms == pytest.approx(16 * small.costs.read_ms)
    assert large.costs.image_bytes == pytest.approx(16 * small.costs.image_bytes)
    assert large.cards_carried < small.cards_carried
    assert large.card == small.card
    given = planned(images=10**6, model="yolov7", image_size="540x960", image_kb=1234)
    assert given.costs.image_bytes == 1_234_000


def test_a_plan_names_the_hosts_for_a_deadline_or_what_stands_in_the_way() -> None:
    plan = planned(images="1e7", model="yolov7", cards_per_host=3, deadline_hours=24)
    assert plan.hosts_needed is not None
    assert f"24.0 hours: needs {plan.hosts_needed} hosts" in page(plan)
    hours = [
        planned(images="1e7", model="yolov7", cards_per_host=3, hosts=hosts).hours
        for hosts in (plan.hosts_needed, plan.hosts_needed - 1)
    ]
    assert hours[0] <= 24 < hours[1]
    slow = planned(images="1e7", model="yolov7", deadline_hours=24, storage_mb_s=1)
    assert slow.hosts_needed is None
    assert "cannot be met by more hosts: the storage would be the limit" in page(slow)


def test_runs_are_split_where_one_driver_would_need_too_much_memory() -> None:
    small, large = (planned(images=images, model="yolov7") for images in ("1e6", "1e10"))
    assert small.footprint.runs == 1
    assert large.footprint.runs > 100
    for plan in (small, large):
        paper = plan.footprint
        assert paper.driver_bytes <= 16e9
        assert paper.runs * paper.images >= plan.images
        assert paper.part_files == 2 * paper.shards
    assert planned(images="1e10", model="yolov7", runs=50_000).footprint.images == 200_000


def test_everything_that_the_page_says_is_in_the_json() -> None:
    arguments = ["--images", "1e6", "--i-time", "40", "--cards-per-host", "16", "--cores-per-host", "2"]
    run = [sys.executable, "-m", "jobs.command_line", "plan", *arguments]
    told = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=HANG_S)
    as_json = subprocess.run([*run, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=HANG_S)
    assert (told.returncode, as_json.returncode) == (0, 0), told.stderr + as_json.stderr
    plan = FleetPlan.model_validate_json(as_json.stdout)
    assert plan == planned(images="1e6", i_time=40, cards_per_host=16, cores_per_host=2)
    assert page(plan) == told.stdout
    assert plan.cores_are_full == ("they are full" in told.stdout)


def examples() -> list[tuple[list[str], str]]:
    """Each command of docs/scale.md, and what stands there as its output."""
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n\$ raysail plan (.*?[^\\])\n(.*?)```", text, re.DOTALL)
    return [(command.replace("\\\n", " ").split(), output) for command, output in blocks]


def test_what_the_documentation_shows_is_what_the_command_prints() -> None:
    assert len(examples()) == 3
    for arguments, output in examples():
        run = [sys.executable, "-m", "jobs.command_line", "plan", *arguments]
        done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=HANG_S)
        assert done.stdout == output, done.stdout + done.stderr


def test_the_documented_validation_is_the_raw_figures(tmp_path: Path) -> None:
    rows = json.loads((ROOT / "docs" / "results" / "plan.json").read_text(encoding="utf-8"))["rows"]
    assert table(rows) in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    carried = [row for row in rows if row["cores_used"] < FULL]
    assert {row["cards"] for row in carried} == {1, 2, 4, 8, 16}
    assert all(0.9 <= row["plan_over_measured"] <= 1.1 for row in carried)
