"""Finding Python 3.10 and the compiler, adapting its environment, and saying what is wrong."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bmodel.compiler import torch_stand_in
from bmodel.compiler.python310 import find_python310, what_is_wrong_with
from bmodel.compiler.toolchain import (
    LOCK_FILE,
    RECORD_NAME,
    ToolchainRecord,
    find_toolchain,
    list_sha256,
    toolchain_folder,
)
from bmodel.compiler.toolchain_install import OWN_GLIBC, adapt_environment
from bmodel.errors import ConfigurationError, LibraryError
from bmodel.files import lack_of_space
from bmodel.libraries import WHEEL_SHA256, explain_pip_failure
from jobs.commands.toolchain import describe_state


def _program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no Python on its PATH and an empty home."""
    if sys.version_info[:2] == (3, 10):
        pytest.skip("this very Python is a 3.10")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_says_how_to_get_a_python(empty_machine: Path) -> None:
    with pytest.raises(LibraryError) as raised:
        find_python310()
    message = str(raised.value)
    for wanted in ("needs Python 3.10", "uv python install 3.10", "pyenv install 3.10", "--python"):
        assert wanted in message


def test_finds_it_on_path_before_pyenv_before_uv(empty_machine: Path) -> None:
    from_uv = _program(empty_machine / "uv/python3.10", "echo 3.10")
    _program(
        empty_machine / "bin/uv",
        f'[ "$1 $2 $3 $4" = "python find --no-python-downloads 3.10" ] && echo {from_uv}',
    )
    assert find_python310() == from_uv
    old = _program(empty_machine / "pyenv/versions/3.10.4/bin/python3.10", "echo 3.10")
    assert find_python310() == old
    newer = _program(empty_machine / "pyenv/versions/3.10.9/bin/python3.10", "echo 3.10")
    assert find_python310() == newer
    on_path = _program(empty_machine / "bin/python3.10", "echo 3.10")
    assert find_python310() == on_path


def test_passes_over_what_will_not_do_and_names_it(empty_machine: Path) -> None:
    # A pyenv shim of a version that is not active, and a distribution's Python without venv.
    _program(empty_machine / "bin/python3.10", "echo 'pyenv: python3.10: command not found' >&2; exit 127")
    split = _program(empty_machine / "pyenv/versions/3.10.1/bin/python3.10", "echo 3.10; exit 1")
    with pytest.raises(LibraryError) as raised:
        find_python310()
    assert "does not run" in str(raised.value)
    assert f"'{split}' has no venv" in str(raised.value)


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("echo 3.10", None),
        ("echo 3.12", "is Python 3.12"),
        ("echo 3.10; exit 1", "has no venv and ensurepip (python3.10-venv is not installed)"),
        ("exit 1", "does not run"),
    ],
)
def test_a_named_python_is_checked(tmp_path: Path, script: str, fault: str | None) -> None:
    python = _program(tmp_path / "python", script)
    assert what_is_wrong_with(python) == fault
    if fault is None:
        assert find_python310(python) == python
    else:
        with pytest.raises(ConfigurationError, match=r"--python must name a Python 3\.10"):
            find_python310(python)


def test_a_named_python_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be started: No such file"):
        find_python310(tmp_path / "nowhere")


# What pip really printed, shortened.
NO_NETWORK = """\
WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError("HTTPConnection(\
host='127.0.0.1', port=9): Failed to establish a new connection: [Errno 111] Connection refused")': /simple/tpu-mlir/
ERROR: Could not find a version that satisfies the requirement tpu_mlir==1.30.2 (from versions: none)
ERROR: No matching distribution found for tpu_mlir==1.30.2
"""


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (
            NO_NETWORK,
            "the package index cannot be reached (pip: No matching distribution found for tpu_mlir==1.30.2)",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
            "the disk is full (pip: Could not install packages due to an OSError: [Errno 28] No space left on device)",
        ),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n    Got 1234\n",
            "a downloaded file has another SHA-256",
        ),
        (
            NO_NETWORK.partition("\n")[2],
            "the package index does not have it, or cannot be reached (pip: No matching",
        ),
        ("/usr/bin/python3: No module named pip\n", "this Python has no pip"),
        ("ERROR: something new\n", "something new"),
        ("", "it printed nothing"),
    ],
)
def test_explains_pip(output: str, cause: str) -> None:
    assert explain_pip_failure(output).startswith(cause)


def _installed(folder: Path) -> Path:
    """A freshly installed environment, as far as adapting it goes."""
    packages = folder / "env/lib/python3.10/site-packages"
    third_party = packages / "tpu_mlir/lib/third_party"
    third_party.mkdir(parents=True)
    for name in (*OWN_GLIBC, "libstdc++.so.6"):
        (third_party / name).write_text(name)
    _program(packages / "tpu_mlir/bin/tpuc-opt", "").chmod(0o644)
    _program(packages / "tpu_mlir/python/tools/model_deploy.py", "").chmod(0o644)
    (folder / "env/bin").mkdir()
    return packages


def test_adapts_the_environment(tmp_path: Path) -> None:
    packages = _installed(tmp_path)
    adapt_environment(tmp_path)
    assert {path.name for path in (packages / "tpu_mlir/lib/third_party").iterdir()} == {"libstdc++.so.6"}
    assert {path.name for path in (tmp_path / "set_aside").iterdir()} == set(OWN_GLIBC)
    assert (packages / "torch/__init__.py").read_text() == Path(torch_stand_in.__file__).read_text()
    for program in ("env/bin/dot", "env/lib/python3.10/site-packages/tpu_mlir/bin/tpuc-opt"):
        assert (tmp_path / program).stat().st_mode & 0o111 == 0o111


def test_refuses_a_wheel_without_its_glibc(tmp_path: Path) -> None:
    packages = _installed(tmp_path)
    (packages / "tpu_mlir/lib/third_party/libm.so.6").unlink()
    with pytest.raises(LibraryError, match=r"must hold 'tpu_mlir/lib/third_party/libm.so.6'"):
        adapt_environment(tmp_path)


def _load_stand_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location("torch_as_copied", torch_stand_in.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stands_in_for_torch_and_owns_up_to_it() -> None:
    torch = _load_stand_in()
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(torch.tensor(array).numpy(), array)
    assert torch.__version__ == "0.0"
    # AttributeError would be taken for a broken torch, ImportError says that there is none.
    with pytest.raises(ImportError, match="without 'nn'"):
        torch.nn  # noqa: B018


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYSAIL_CACHE", str(tmp_path))
    return tmp_path


def _record() -> ToolchainRecord:
    return ToolchainRecord(
        tpu_mlir="1.30.2",
        wheel_sha256=WHEEL_SHA256,
        lock_sha256=list_sha256(),
        python="3.10.13",
        installed_at="2026-01-01T00:00:00+00:00",
    )


def test_nothing_counts_before_the_record_is_written(cache: Path) -> None:
    folder = toolchain_folder()
    assert folder.is_relative_to(cache)
    with pytest.raises(LibraryError, match="run 'raysail toolchain install'"):
        find_toolchain()
    _program(folder / "env/bin/python", "")
    with pytest.raises(LibraryError, match="is not installed"):
        find_toolchain()
    (folder / RECORD_NAME).write_text('{"tpu_mlir": "1.30.2"')
    with pytest.raises(LibraryError, match="is not installed"):
        find_toolchain()
    (folder / RECORD_NAME).write_text(_record().model_dump_json())
    assert find_toolchain().record == _record()
    (folder / "env/bin/python").unlink()
    with pytest.raises(LibraryError, match=r"the Python 3.10.13 .* is gone"):
        find_toolchain()


def test_another_list_of_packages_is_another_installation() -> None:
    assert toolchain_folder().name == f"1.30.2-{list_sha256()[:8]}"


def test_its_tools_see_nothing_of_our_python(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toolchain_folder()
    _program(folder / "env/bin/python", "")
    (folder / RECORD_NAME).write_text(_record().model_dump_json())
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("PYTHONHOME", "/ours")
    monkeypatch.setenv("VIRTUAL_ENV", "/ours")
    monkeypatch.setenv("LD_PRELOAD", "/ours.so")
    environment = find_toolchain().environment()
    assert not any("/ours" in value for value in environment.values())
    assert environment["PATH"].split(":")[0] == str(folder / "env/bin")
    assert environment["PYTHONNOUSERSITE"] == "1"


def test_every_package_is_pinned_by_version_and_hash() -> None:
    lines = [line for line in LOCK_FILE.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) > 30
    for line in lines:
        requirement, _, sha256 = line.partition(" --hash=sha256:")
        assert requirement.count("==") == 1, line
        assert len(sha256) == 64, line
    names = {line.partition("==")[0].lower() for line in lines}
    assert "torch" not in names


def test_shows_what_is_missing_and_how_to_get_it(cache: Path) -> None:
    lines = describe_state()
    assert str(cache) in lines[0]
    assert "raysail toolchain install" in lines[1]
    assert lines[2].startswith("simulator      missing")


def test_disk_space_is_asked_for_first(tmp_path: Path) -> None:
    assert lack_of_space(tmp_path, 1) is None
    assert "needs 1000000000.00 GB free" in str(lack_of_space(tmp_path, 10**18))
