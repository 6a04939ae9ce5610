"""The job of tests/card is code that runs: here on SAIL's stand-in."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S


@pytest.mark.simulator
def test_the_cards_job_passes_on_the_stand_in(sail_stand_in: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/card/test_card_job.py"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **sail_stand_in}, capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed, 1 skipped" in done.stdout
    assert "NO DEVICE FILE" in done.stdout
