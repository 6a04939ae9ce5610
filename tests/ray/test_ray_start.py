"""Ray's own start fails: the user gets one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.job_runs import TINY_ONNX, write_pictures
from tests.helpers.paths import ROOT
from tests.helpers.processes import command_of, processes_with


@pytest.mark.chaos
def test_a_raylet_that_does_not_register_is_one_line(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 2)
    mark = f"RAYSAIL_TEST_MARK={tmp_path}"
    command = [
        sys.executable,
        "-m",
        "jobs.detect",
        "--images",
        "photos",
        "--device",
        "cpu",
        "--output",
        "run",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAYSAIL_TEST_MARK": str(tmp_path)}
    job = subprocess.Popen(
        [*command, "--model", str(TINY_ONNX)],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    stopped: set[int] = set()
    while job.poll() is None and not stopped:
        for pid in processes_with(mark):
            if Path(command_of(pid).split(" ")[0]).name == "raylet":
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
        time.sleep(0.005)
    assert stopped
    _, err = job.communicate()
    assert job.returncode == 1, err
    assert err.count("\n") == 1, err
    assert err.startswith("raysail: Ray did not start on this host: ")
