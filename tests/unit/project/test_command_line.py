"""The command line: every command loads, and errors are one line with the right exit code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from jobs.command_line import COMMANDS, Command
from jobs.config.version import product_version
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.command_line", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG_S, check=False)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_loads_and_is_a_function_or_a_group(command: Command) -> None:
    loaded = command.load()
    assert isinstance(loaded, typer.Typer) or callable(loaded)
    assert len(command.summary) <= 90
    assert command.summary.endswith(".")


def test_version_names_the_product_and_the_version_of_this_checkout() -> None:
    expected = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert expected is not None
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"raysail {expected[1]}\n", "")
    assert product_version(ROOT / "pyproject.toml") == expected[1]


def test_a_version_is_never_taken_from_another_projects_file(tmp_path: Path) -> None:
    other = tmp_path / "pyproject.toml"
    other.write_text('[project]\nname = "other"\nversion = "9.9"\n', encoding="utf-8")
    assert product_version(other) not in {"9.9", ""}


@pytest.mark.parametrize("module", ["jobs.config.choices", "jobs.config.command_options"])
def test_options_are_described_without_heavy_libraries(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('numpy', 'cv2', 'ray', 'pyarrow') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_help_names_every_command_without_importing_ray() -> None:
    code = (
        "import sys; sys.argv = ['raysail', '--help']\n"
        "from jobs.command_line import main\n"
        "try: main()\n"
        "except SystemExit: print('loaded', 'ray' in sys.modules, 'cv2' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert all(command.name in done.stdout for command in COMMANDS)
    assert "loaded False False" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["detect"], 2, "--images: is required"),
        (["detect", "--images", "x", "--conf", "7", "--device", "timed"], 2, "--conf:"),
        (
            ["detect", "--images", "nowhere", "--device", "timed", "--service-ms", "1"],
            2,
            "--images: must be a folder",
        ),
        (["inspect", "pyproject.toml"], 2, "must be a .bmodel or .onnx file"),
        (["evaluate", "nowhere"], 2, "nowhere"),
        (["labels", "nowhere"], 2, "RUN: must be the folder of a run"),
        (["labels", "nowhere", "--label-format", "none"], 2, "'none' is not one of"),
        (["nonsense"], 2, "no such command 'nonsense'"),
        (["detect", "--confx", "2"], 2, "no such option: --confx"),
        (["detect", "--images"], 2, "'--images' requires an argument"),
        (["export", "x", "--format", "foo"], 2, "'foo' is not one of 'coco', 'csv'"),
        (["node"], 2, "missing command; see 'raysail node --help'"),
        (["node", "start"], 2, "needs either --head or --address"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_error_is_said_on_standard_error_with_its_code(
    arguments: list[str], code: int, words: str
) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("raysail: ")
    assert done.stdout == ""
