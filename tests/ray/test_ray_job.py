"""`ray job submit` as its users type it, against a running cluster that asks for its token."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.job_runs import assert_each_once
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tests.ray.conftest import SharedCluster

RAY = Path(sys.executable).parent / "ray"


def submit(
    cluster: SharedCluster, *entrypoint: object, token: bool = True
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **(cluster.environment if token else {})}
    if not token:
        environment["RAY_AUTH_TOKEN_PATH"] = ""
        environment["RAY_AUTH_MODE"] = "disabled"
    command = [RAY, "job", "submit", "--address", cluster.jobs_url, "--working-dir", ".", "--", *entrypoint]
    return subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )


@pytest.fixture(scope="module")
def submitted(
    cluster: SharedCluster, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    run = tmp_path_factory.mktemp("job") / "run"
    options = ["--images", pictures, "--model", "models/tiny.onnx", "--cards", 2, "--output", run]
    return run, submit(cluster, "python", "-m", "jobs.detect", *options)


def test_a_submitted_job_succeeds(submitted: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    run, done = submitted
    assert done.returncode == 0, done.stdout + done.stderr
    assert_each_once(run, 40)
    assert (run / "_SUCCESS").exists()
    assert "40 ok of 40" in done.stdout, "the table is in the job's log"


def test_a_relative_output_is_refused_with_the_reason(cluster: SharedCluster, pictures: Path) -> None:
    options = ["--images", pictures, "--model", "models/tiny.onnx", "--output", "result/mine"]
    done = submit(cluster, "python", "-m", "jobs.detect", *options)
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert "--output: must be absolute or a URL under ray job" in text
    assert "'result/mine'" in text


def test_a_client_without_the_token_is_refused(
    cluster: SharedCluster, pictures: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = ["--images", pictures, "--model", "models/tiny.onnx", "--output", run]
    done = submit(cluster, "python", "-m", "jobs.detect", *options, token=False)
    assert done.returncode != 0
    assert "auth" in (done.stdout + done.stderr).lower()
    assert not run.exists()
