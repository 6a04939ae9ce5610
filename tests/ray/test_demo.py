"""`make demo`'s command, as a newcomer runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.job_runs import assert_each_once, metrics
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S


def test_the_demo_scores_a_run_and_says_what_to_try_next(tmp_path: Path) -> None:
    cleared = {name: "" for name in os.environ if name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "jobs.demo", "--limit", "2", "--cards", "1"],
        cwd=tmp_path,
        env={**os.environ, **cleared, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "raysail import-weights" in done.stdout
    [run] = (tmp_path / "result").iterdir()
    assert_each_once(run, 2)
    assert metrics(run)["map"]["coco"]["ap50"] > 0.8
    assert (run / "report.html").stat().st_size > 10_000
