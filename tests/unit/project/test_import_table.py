"""The table of docs/architecture.md: which folder may import what. Every import statement of the code is looked at."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

FOLDERS = ("bmodel", "data", "tpu_worker", "cluster", "models", "jobs")
LIBRARIES = {
    "bmodel": {"numpy", "pydantic"},
    "data": {"numpy", "cv2"},
    "tpu_worker": {"bmodel", "numpy", "cv2", "onnxruntime", "pyarrow", "sophon"},
    "cluster": {"bmodel", "tpu_worker", "ray", "numpy", "pyarrow", "typer", "rich"},
    "models": {"bmodel", "data", "numpy", "cv2", "pydantic", "torch", "onnx", "onnxruntime", "pycocotools"},
    "jobs": {
        *("bmodel", "data", "tpu_worker", "cluster", "models", "numpy", "cv2", "pyarrow", "pydantic"),
        *(
            "pydantic_core",
            "yaml",
            "typer",
            "rich",
            "onnxruntime",
            "pycocotools",
            "hotcoco",
            "jinja2",
            "markupsafe",
            "onnx",
            "torch",
        ),
    },
}
ONLY_IN = {
    "ray": {"cluster/", "jobs/detect.py"},
    "sophon": {"tpu_worker/devices/sail.py"},
    "torch": {"models/", "jobs/"},
    "onnx": {"models/", "jobs/"},
    "jinja2": {"jobs/"},
}


def sources() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Every imported module of a file with its statement, wherever in the file that stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} imports relatively"
            yield str(node.module), node


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_a_file_imports_what_its_folder_may(path: Path) -> None:
    folder = name_of(path).split("/")[0]
    for module, node in imports_of(path):
        top = module.split(".")[0]
        if top in sys.stdlib_module_names or top == folder:
            continue
        place = f"{name_of(path)}:{node.lineno}"
        assert top in LIBRARIES[folder], f"{place}: {folder}/ may not import '{module}'"
        allowed = ONLY_IN.get(top)
        if allowed is not None:
            assert any(name_of(path).startswith(start) for start in allowed), f"{place}: '{module}'"


def test_networks_know_what_describes_a_model_and_nothing_else_of_bmodel() -> None:
    seen = {
        module
        for path in sources()
        if name_of(path).startswith("models/")
        for module, _ in imports_of(path)
        if module.startswith("bmodel")
    }
    assert seen == {"bmodel.sidecar", "bmodel.model_file", "bmodel.errors"}


def test_nothing_imports_jobs_and_no_project_file_imports_tests() -> None:
    for path in sources():
        for module, node in imports_of(path):
            top = module.split(".")[0]
            assert top != "tests", f"{name_of(path)}:{node.lineno}"
            if top == "jobs":
                assert name_of(path).startswith("jobs/"), f"{name_of(path)}:{node.lineno}"


def test_the_table_is_about_folders_and_modules_that_exist() -> None:
    """A table that names what is gone would let anything pass."""
    assert len(sources()) > 100
    used = {module.split(".")[0] for path in sources() for module, _ in imports_of(path)}
    assert set(FOLDERS) <= used | {"jobs"}
    assert set(ONLY_IN) <= used
    for starts in ONLY_IN.values():
        for start in starts:
            assert (ROOT / start).exists(), start


@pytest.mark.parametrize(
    "path", [path for path in sources() if not name_of(path).startswith("models/")], ids=name_of
)
def test_what_is_optional_is_imported_where_it_is_needed(path: Path) -> None:
    """PyTorch and onnx are extras, and the runtimes are large: no module may need them for being imported."""
    lazy = {"torch", "onnx", "onnxruntime", "hotcoco", "pycocotools", "sophon"}
    assert not lazy & {module.split(".")[0] for module in imported_at_once(path)}


@pytest.mark.parametrize("name", ["jobs/config/detect_config.py", "jobs/command_line.py"])
def test_what_help_needs_is_light(name: str) -> None:
    heavy = {"ray", "numpy", "cv2", "pyarrow", "jobs.detect"}
    assert not heavy & set(imported_at_once(ROOT / name))


def imported_at_once(path: Path) -> Iterator[str]:
    """What a file imports as soon as it is imported: statements outside functions and type checking."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
