"""docs/examples: every file there is run, or read by the rules of who reads it (the KubeRay job: test_cluster_files)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S

EXAMPLES = ROOT / "docs" / "examples"
SAMPLE = ROOT / "data" / "sample" / "images"
LINE = re.compile(r"(\S+\.jpg) (person|bike|car) 0\.\d\d( -?\d+\.\d){4}")


def run(*command: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, *map(str, command)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=HANG_S)


def test_the_page_lists_every_example() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert {f"({path.name})" for path in EXAMPLES.iterdir() if path.name != "README.md"} == set(
        re.findall(r"\([a-z_]+\.[a-z]+\)", page)
    )


def test_the_detector_without_ray_prints_boxes_and_why_an_image_has_none(tmp_path: Path) -> None:
    photographs = sorted(SAMPLE.glob("*.jpg"))[:2]
    for photograph in photographs:
        shutil.copy(photograph, tmp_path)
    (tmp_path / "broken.jpg").write_bytes(photographs[0].read_bytes()[:1000])
    # As a user's program would: the project is installed, or on Python's path.
    code = (
        "import runpy, sys; sys.path.insert(0, ''); runpy.run_path(sys.argv.pop(1), run_name='__main__')\n"
        "assert 'ray' not in sys.modules"
    )
    script = EXAMPLES / "detect_folder.py"
    done = run("-c", code, script, tmp_path, ROOT / "models" / "sample_yolov7tiny_416.onnx")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("broken.jpg")] == [lines[0]]
    assert lines[0].startswith("broken.jpg failed: ")
    assert {found[1] for line in lines[1:] if (found := LINE.fullmatch(line))} == {
        photograph.name for photograph in photographs
    }
    assert all(LINE.fullmatch(line) for line in lines[1:])


def test_the_sweep_has_one_point_that_runs_here_and_one_that_says_why_not(tmp_path: Path) -> None:
    done = run("-m", "jobs.commands.sweep", EXAMPLES / "sweep.yaml", "--list", "--output", tmp_path / "sweep")
    assert done.returncode == 0, done.stderr
    assert "2 points: 1 ready to run, 1 predicted" in done.stdout
    assert "cannot run the int8 model" in done.stdout
