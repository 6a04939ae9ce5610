"""A reproduction through real runs: it passes, it compares with its own files, and it fails for a reason it names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.job_runs import run_here
from tests.helpers.published_files import copy_with_damage
from tests.helpers.reproduction_files import COUNT, image_set, reproduction, write_yaml
from tests.ray.conftest import SharedCluster


def content_of(folder: Path, cluster: SharedCluster, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    options = {"device": "cpu", "score-protocol": "yolo", "address": cluster.address}
    return reproduction(folder, {"options": options, **(changes or {})})


def verdicts(folder: Path) -> dict[str, str]:
    found = json.loads((folder / "result" / "reproduction.json").read_text())
    return {f"{one['name']} of {one['set']}": one["verdict"] for one in found["figures"]}


@pytest.fixture(scope="module")
def small(cluster: SharedCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything in it, reproduced once."""
    folder = image_set(tmp_path_factory.mktemp("small"))
    path = write_yaml(folder / "small.yaml", content_of(folder, cluster))
    done = run_here("reproduce", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("# In small\n\n**Reproduced")
    return folder


def test_every_figure_is_judged(small: Path) -> None:
    assert verdicts(small) == {
        "images that went through of b-set": "pass",
        "images that went through of validation": "pass",
        "mAP@0.5 of validation": "pass",
        "i_time (ms) of b-set": "pass",
        "score of validation and b-set": "pass",
    }
    page = (small / "result" / "reproduction.md").read_text()
    assert "predicted by the compiler's schedule" in page


def test_labels_are_in_the_competition_s_format_with_their_time(small: Path) -> None:
    files = sorted((small / "result" / "b-set" / "labels").glob("*.txt"))
    lines = [line.split() for file in files for line in file.read_text().splitlines()]
    assert len(files) == COUNT
    assert lines
    assert {len(line) for line in lines} == {7}
    assert {line[0] for line in lines} <= {"car", "person", "bike"}
    assert {line[6] for line in lines} == {"0.064025"}  # what the sidecar predicts


def test_compared_with_its_own_files_everything_agrees_and_nothing_runs_again(
    small: Path, cluster: SharedCluster
) -> None:
    labels = small / "result" / "b-set" / "labels"
    commits = (small / "result" / "b-set" / "commits.jsonl").stat()
    done = run_here("reproduce", small / "small.yaml", "--published", labels)
    assert done.returncode == 0, done.stderr
    comparison = json.loads((small / "result" / "reproduction.json").read_text())["comparison"]
    assert [(one["of_published"], one["of_ours"]) for one in comparison["shares"]] == [(1.0, 1.0)] * 3
    assert comparison["boxes_published"] == comparison["boxes_ours"] > 0
    assert set(comparison["kinds"].values()) == {0}
    assert comparison["files_in_both"] == COUNT
    assert comparison["times_ours"] == comparison["times_published"]
    assert "## Beside the published files" in done.stdout
    assert (small / "result" / "b-set" / "commits.jsonl").stat().st_mtime_ns == commits.st_mtime_ns
    assert json.loads((small / "result" / "b-set" / "run.json").read_text())["resumed"] == 0


def test_what_was_changed_in_published_files_is_found(
    small: Path, cluster: SharedCluster, tmp_path: Path
) -> None:
    copy_with_damage(
        small / "result" / "b-set" / "labels", tmp_path / "published", shifted=0, dropped=2, relabelled=0
    )
    done = run_here("reproduce", small / "small.yaml", "--published", tmp_path / "published")
    assert done.returncode == 0, done.stderr
    assert "| added | 2 | ours alone |" in done.stdout


def test_labels_that_were_mended_count_at_once(small: Path, cluster: SharedCluster, tmp_path: Path) -> None:
    result = shutil.copytree(small / "result", tmp_path / "result")
    metrics = result / "validation" / "metrics.json"
    objects = json.loads(metrics.read_text())["map"]["voc"]["per_class"]["car"]["objects"]
    label = small / "labels" / "image-0.txt"
    before = label.read_text()
    label.write_text(before + "0 0.2 0.2 0.1 0.1\n")
    try:
        path = write_yaml(tmp_path / "x.yaml", content_of(small, cluster, {"output": str(result)}))
        assert run_here("reproduce", path).returncode == 0
    finally:
        label.write_text(before)
    assert json.loads(metrics.read_text())["map"]["voc"]["per_class"]["car"]["objects"] == objects + 1


def test_another_truth_is_scored_without_running_again(
    small: Path, cluster: SharedCluster, tmp_path: Path
) -> None:
    """The truth decides nothing of what was committed: the run is gone on with, which only measures again."""
    result = shutil.copytree(small / "result", tmp_path / "result")
    content = content_of(small, cluster, {"output": str(result)})
    truth = shutil.copytree(small / "labels", tmp_path / "labels")
    content["sets"]["validation"]["ground-truth"] = str(truth)
    before = (result / "validation" / "commits.jsonl").read_bytes()
    assert run_here("reproduce", write_yaml(tmp_path / "x.yaml", content)).returncode == 0
    assert (result / "validation" / "commits.jsonl").read_bytes() == before
    told = json.loads((result / "validation" / "run.json").read_text())["configuration"]["ground-truth"]
    assert told == str(truth)


def test_other_options_do_not_pass_off_an_older_run(
    small: Path, cluster: SharedCluster, tmp_path: Path
) -> None:
    content = content_of(small, cluster)
    content["options"]["conf"] = 0.5
    done = run_here("reproduce", write_yaml(tmp_path / "x.yaml", content))
    assert done.returncode == 1
    assert "conf was 0.001 and is now 0.5" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missed_figure_and_a_broken_image_fail(cluster: SharedCluster, tmp_path: Path) -> None:
    folder = image_set(tmp_path)
    (folder / "images" / "image-2.jpg").write_bytes(b"no picture")
    content = content_of(folder, cluster)
    content["expectations"] = {
        "map50": {"set": "validation", "published": 0.999, "tolerance": 0.0001},
        "i-time-ms": {"set": "b-set", "published": 102, "tolerance": 10},
        "score": {"published": 167.2, "tolerance": 2},
    }
    done = run_here("reproduce", write_yaml(folder / "small.yaml", content))
    assert done.returncode == 1, done.stderr
    assert verdicts(folder) == {
        "images that went through of b-set": "fail",
        "images that went through of validation": "fail",
        "mAP@0.5 of validation": "fail",
        "i_time (ms) of b-set": "not measurable",  # a prediction is not what was published
        "score of validation and b-set": "not measurable",
    }
    assert "**Not reproduced: images that went through of b-set" in done.stdout
