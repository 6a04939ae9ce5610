"""The table of docs/architecture.md: which folder may import what, and which room of a folder stands on which.

Every import statement of the code is read, also those inside functions and under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import json
import re
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
            "typing_extensions",
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
# The rooms of each package, lowest first ("" holds the package's own files): a room imports lower ones alone.
ROOMS = {
    "bmodel": ("", "compiler"),
    "cluster": ("cards", "pool", "health", ""),
    "data": ("", "scenes"),
    "models": ("", "yolov7", "checkpoint", "training"),
    "jobs": (
        *("config", "inputs", "run", "measure", "report", "console", "", "build"),
        *("build/compile", "build/quantize", "build/latency_table"),
        *("study", "plan", "doctor", "commands"),
    ),
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


def files_of(folder: str) -> list[Path]:
    return [path for path in sources() if name_of(path).startswith(f"{folder}/")]


def refused(path: Path) -> Iterator[str]:
    """What a file imports although its folder, or the file itself, may not."""
    folder = name_of(path).split("/")[0]
    for module, node in imports_of(path):
        top = module.split(".")[0]
        if top in sys.stdlib_module_names or top == folder:
            continue
        place = f"{name_of(path)}:{node.lineno}"
        if top not in LIBRARIES[folder]:
            yield f"{place}: {folder}/ may not import '{module}'"
        elif not any(name_of(path).startswith(start) for start in ONLY_IN.get(top, {""})):
            yield f"{place}: only {', '.join(sorted(ONLY_IN[top]))} may import '{module}'"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_files_of_a_folder_import_what_it_may(folder: str) -> None:
    assert [problem for path in files_of(folder) for problem in refused(path)] == []


def room_of(path: Path) -> str:
    return "/".join(name_of(path).split("/")[1:-1])


def modules_of(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """As `imports_of`, and `from package import module` names the module."""
    for module, node in imports_of(path):
        yield module, node
        if isinstance(node, ast.ImportFrom):
            yield from ((f"{module}.{alias.name}", node) for alias in node.names)


def climbs(path: Path, package: str) -> Iterator[str]:
    """Imports of a file that lead to a higher room of its package."""
    files = {name_of(other).removesuffix(".py").replace("/", "."): other for other in files_of(package)}
    floors = {room: floor for floor, room in enumerate(ROOMS[package])}
    for module, node in modules_of(path):
        if module in files and floors[room_of(files[module])] > floors[room_of(path)]:
            yield f"{name_of(path)}:{node.lineno}: '{room_of(path)}' is below '{room_of(files[module])}'"


@pytest.mark.parametrize("package", ROOMS)
def test_a_room_imports_lower_rooms_alone(package: str) -> None:
    """An order also means that no rooms import each other in a circle."""
    assert {room_of(path) for path in files_of(package)} == set(ROOMS[package])
    assert [problem for path in files_of(package) for problem in climbs(path, package)] == []


def test_nothing_in_the_wheel_imports_what_is_left_out_of_it() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [listed] = re.findall(r"^exclude = (\[.*\"data/sample\".*\])$", text, re.MULTILINE)
    left_out = tuple(path.removesuffix(".py").replace("/", ".") for path in json.loads(listed))
    problems = [
        f"{name_of(path)}:{node.lineno}: '{module}' is not in the wheel"
        for path in sources()
        for module, node in modules_of(path)
        if f"{module}.".startswith(tuple(f"{name}." for name in left_out))
        and not f"{name_of(path).removesuffix('.py')}/".replace("/", ".").startswith(
            tuple(f"{name}." for name in left_out)
        )
    ]
    assert len(left_out) == 5
    assert problems == []


def test_networks_know_what_describes_a_model_and_nothing_else_of_bmodel() -> None:
    seen = {
        module
        for path in sources()
        if name_of(path).startswith("models/")
        for module, _ in imports_of(path)
        if module.startswith("bmodel")
    }
    assert seen == {"bmodel.sidecar", "bmodel.model_file", "bmodel.errors", "bmodel.files"}


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


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != "models"])
def test_what_is_optional_is_imported_where_it_is_needed(folder: str) -> None:
    """PyTorch and onnx are extras, and the runtimes are large: no module may need them for being imported."""
    lazy = {"torch", "onnx", "onnxruntime", "hotcoco", "pycocotools", "sophon"}
    early = {
        name_of(path): needed
        for path in files_of(folder)
        if (needed := lazy & {module.split(".")[0] for module in imported_at_once(path)})
    }
    assert early == {}


@pytest.mark.parametrize(
    "name", ["jobs/config/detect_config.py", "jobs/config/choices.py", "jobs/command_line.py"]
)
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
