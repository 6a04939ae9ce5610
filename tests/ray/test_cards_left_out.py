"""A whole job that leaves cards of its host alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.helpers.job_runs import TINY_BMODEL, options_of, run_job, write_pictures
from tests.helpers.paths import ROOT

# SAIL of a host with three cards, none of which can be opened: what the job says of each shows that it tried.
SAIL = """
class IOMode:
    SYSIO = None

def get_available_tpu_num():
    return 3

def Engine(path, device_id, mode):
    raise RuntimeError(f"card {device_id} was opened")
"""


def test_a_card_that_is_left_out_is_never_touched(tmp_path: Path) -> None:
    package = tmp_path / "sophon"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sail.py").write_text(SAIL, encoding="utf-8")
    options = {
        "images": write_pictures(tmp_path / "images", 3),
        "model": TINY_BMODEL,
        "device": "sail",
        "exclude": "1",
        "output": tmp_path / "run",
    }
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = run_job(*options_of(options), environment={"PYTHONPATH": path, "RAY_ADDRESS": ""})
    assert done.returncode == 1, done.stderr
    assert set(re.findall(r"card (\d) was opened", done.stderr)) == {"0", "2"}
    assert "no card is left of 2: " in done.stderr.splitlines()[-1]
    assert "card 1" not in done.stderr
