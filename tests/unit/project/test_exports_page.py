"""The snippets of docs/exports.md run as they stand, each in the folder of a run.

RAYSAIL_SNIPPETS_PYTHON names a Python that has their libraries, where this one has not; a snippet without its library
is skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.commands.export import command as export_command
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tests.helpers.report_runs import MadeUp, make_run

PAGE = ROOT / "docs" / "exports.md"
SNIPPETS = re.findall(
    r"^```python (\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
PYTHON = os.environ.get("RAYSAIL_SNIPPETS_PYTHON", sys.executable)
NO_DATABASE = "MongoDB could not be installed"
# Something that a snippet prints only when it has read the run.
EXPECTED = {
    "duckdb": ["person", "the JPEG file <3> is damaged"],
    "pandas": ["street/000.jpg"],
    "pycocotools": ["bike"],
    "supervision": ["street/000.jpg 4"],
    "fiftyone": ["76"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snippets")
    made = make_run(folder, MadeUp(failed=(3,), missing_every=4))
    export_command(made.store.place, to="coco")
    return folder / "run"


def test_every_fence_of_python_is_a_snippet_that_names_its_library() -> None:
    assert PAGE.read_text(encoding="utf-8").count("```python") == len(SNIPPETS)
    assert {library for library, _ in SNIPPETS} == set(EXPECTED)


@pytest.mark.parametrize(("library", "code"), SNIPPETS, ids=[library for library, _ in SNIPPETS])
def test_the_snippet_runs(run: Path, tmp_path: Path, library: str, code: str) -> None:
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({library!r}) is None)"
    if subprocess.run([PYTHON, "-c", probe]).returncode:
        pytest.skip(f"{library} is not installed for {PYTHON}")
    done = run_code(code, run, home=tmp_path)
    if NO_DATABASE in done.stderr:
        before, _, _ = code.partition("dataset = fo.Dataset()")
        count = "print(sum(len(sample['predictions'].detections) for sample in samples))"
        assert "76" in run_code(before + count, run, home=tmp_path).stdout
        pytest.skip("FiftyOne has no MongoDB here: the samples were made, no data set was")
    assert done.returncode == 0, done.stderr
    assert any(text in done.stdout for text in EXPECTED[library]), done.stdout


def run_code(code: str, folder: Path, *, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), "FIFTYONE_DO_NOT_TRACK": "true"}
    command = [PYTHON, "-W", "ignore", "-c", code]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=HANG_S
    )
