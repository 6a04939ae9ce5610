"""The built wheel, alone in a fresh environment and away from the checkout, on each Python that this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pyarrow.parquet as pq
import pytest

from cluster.connect import PACKAGES
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
PHOTOGRAPH = ROOT / "data" / "sample" / "images"
IMPORT_ALL = """
import importlib, pkgutil

count = 0
for package in ("bmodel", "data", "tpu_worker", "cluster", "models", "jobs"):
    folders = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(folders, package + "."):
        try:
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
                count += 1
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "onnx"):
                raise
print(count)
"""
"""Imports every module of the wheel; only what needs the extra `models` may fail for want of PyTorch or onnx."""


def interpreters(version: str) -> Iterator[Path]:
    """Interpreters of one version, on PATH and in pyenv, the nearest first."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield Path(sys.executable)
    if found := shutil.which(f"python{version}"):
        yield Path(found)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from root.glob(f"versions/{version}.*/bin/python{version}")


def run(*command: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of the checkout on Python's path."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY_"))
    }
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )


def succeeded(*command: object, folder: Path) -> str:
    done = run(*command, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    succeeded(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT, folder=folder)
    [built] = folder.glob("raysail-*.whl")
    return built


def test_the_wheel_says_that_its_packages_are_typed(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packages = {name.split("/")[0] for name in names if name.endswith("/__init__.py")}
    assert packages == set(PACKAGES)
    assert {f"{package}/py.typed" for package in packages} <= names


@pytest.mark.parametrize("version", VERSIONS)
def test_the_wheel_alone_runs_a_job(version: str, wheel: Path, tmp_path: Path) -> None:
    # A shim of pyenv is on PATH even where its version is not switched on: whoever answers is taken.
    found = [
        python
        for python in interpreters(version)
        if run(python, "--version", folder=tmp_path).returncode == 0
    ]
    if not found:
        pytest.skip(f"this machine has no Python {version}")
    elsewhere, environment = tmp_path / "elsewhere", tmp_path / "environment"
    elsewhere.mkdir()
    succeeded(found[0], "-m", "venv", environment, folder=tmp_path)
    python, raysail = environment / "bin" / "python", environment / "bin" / "raysail"
    succeeded(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel, folder=elsewhere)

    where = succeeded(python, "-c", "import tpu_worker; print(tpu_worker.__file__)", folder=elsewhere)
    assert Path(where.strip()).is_relative_to(environment), "the checkout answers instead of the wheel"
    assert int(succeeded(python, "-c", IMPORT_ALL, folder=elsewhere)) > 150
    assert run(python, "-c", "import data.scenes", folder=elsewhere).returncode == 1, "it is for the checkout"
    assert "detect" in succeeded(raysail, "--help", folder=elsewhere)
    assert "yolo" in succeeded(python, "-m", "data.convert", "--help", folder=elsewhere).lower()

    photograph = min(PHOTOGRAPH.glob("*.jpg"))
    (elsewhere / "images").mkdir()
    shutil.copy(photograph, elsewhere / "images")
    model = ROOT / "models" / "sample_yolov7tiny_416.onnx"
    options = ["--images", "images", "--model", model, "--device", "cpu", "--output", "run"]
    succeeded(raysail, "detect", *options, folder=elsewhere)
    assert (elsewhere / "run" / "_SUCCESS").exists()
    [part] = (elsewhere / "run" / "images").glob("*.parquet")
    [row] = pq.read_table(part).to_pylist()
    assert (row["image_id"], row["status"]) == (photograph.name, "ok")
    assert row["detections"] > 0
    [label] = (elsewhere / "run" / "labels").glob("*.txt")
    assert len(label.read_text(encoding="utf-8").splitlines()) == row["detections"]
