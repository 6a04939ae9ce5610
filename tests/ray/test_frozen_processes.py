"""Processes that are stopped, not killed: the user reads that nothing moves, and SIGTERM ends the job all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.job_runs import wait_for_commits, write_pictures
from tests.helpers.paths import ROOT
from tests.helpers.processes import command_of, processes_with, start_process

pytestmark = pytest.mark.chaos


def freeze(program: str, mark: str) -> None:
    """Stop every process of a job that runs this program."""
    for pid in processes_with(mark):
        if Path(command_of(pid).split(" ")[0]).name == program:
            os.kill(pid, signal.SIGSTOP)


def start_job(tmp_path: Path, count: int) -> tuple[subprocess.Popen[str], str]:
    """A job on the timed device that has committed something, and what its processes are known by."""
    photos, run = write_pictures(tmp_path / "photos", count), tmp_path / "run"
    options = ["--device", "timed", "--service-ms", "200", "--cards", "2", "--shard-size", "4"]
    job = start_process(
        [sys.executable, "-m", "jobs.detect", "--images", str(photos), *options, "--output", str(run)],
        folder=ROOT,
        environment={**os.environ, "RAYSAIL_TEST_MARK": str(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    wait_for_commits(run, 2, job)
    return job, f"RAYSAIL_TEST_MARK={tmp_path}"


def test_a_frozen_gcs_is_reported_and_does_not_hold_a_job_that_is_asked_to_stop(tmp_path: Path) -> None:
    job, mark = start_job(tmp_path, 1000)
    freeze("gcs_server", mark)
    assert job.stderr is not None
    said = ""
    while "nothing has moved" not in said:
        said = job.stderr.readline()
        assert said, "it ended without a word"
    job.send_signal(signal.SIGTERM)
    asked_s = time.monotonic()
    assert job.wait() == 1
    assert time.monotonic() - asked_s < 30  # ten seconds, on a machine that may be busy
    assert "stopped by SIGTERM" in job.stderr.read()


def test_a_frozen_raylet_does_not_hold_a_job_that_has_done_its_work(tmp_path: Path) -> None:
    job, mark = start_job(tmp_path, 40)
    freeze("raylet", mark)
    _, err = job.communicate()
    assert job.returncode == 0, err
    assert (tmp_path / "run" / "_SUCCESS").exists()
