"""Everything that can go wrong while compiling: one clear sentence, an exit code, and nothing half-written."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from bmodel.compiler.python310 import find_python310
from bmodel.compiler.toolchain import find_toolchain
from bmodel.compiler.toolchain_install import install_toolchain
from bmodel.errors import LibraryError, ToolError
from tests.device.compile_cases import (
    PROGRAM,
    TINY,
    names,
    node,
    run_compile,
    save_network,
    start_compile,
    write_pictures,
)
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S, command_of


@pytest.fixture(scope="module")
def toolchain() -> None:
    """Skip where there is no compiler."""
    try:
        find_toolchain()
    except LibraryError as error:
        pytest.skip(str(error))


def test_without_the_compiler_it_says_how_to_get_it(tmp_path: Path) -> None:
    outcome = run_compile(TINY, "--output", tmp_path / "build", environment={"RAYSAIL_CACHE": str(tmp_path)})
    assert outcome.returncode == 1
    assert outcome.stderr.count("\n") == 1
    assert "run 'raysail toolchain install'" in outcome.stderr
    assert names(tmp_path / "build") == set()


@pytest.mark.toolchain
def test_an_operator_that_the_compiler_does_not_know(toolchain: None, tmp_path: Path) -> None:
    network = save_network(tmp_path / "det.onnx", [node("Det", ["x"], "y")])
    outcome = run_compile(network, "--output", tmp_path / "build")
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1].endswith(
        "the compiler failed while reading the network: it does not know the operator Det"
    )
    assert names(tmp_path / "build") == {"det_fp32_1b.failed"}
    assert "Op not support" in (tmp_path / "build/det_fp32_1b.failed/model_transform.log").read_text()


@pytest.mark.toolchain
def test_an_operator_that_the_chip_does_not_have(toolchain: None, tmp_path: Path) -> None:
    nodes = [node("NonZero", ["x"], "places"), node("Cast", ["places"], "y", to=1)]
    outcome = run_compile(save_network(tmp_path / "nonzero.onnx", nodes), "--output", tmp_path / "build")
    assert outcome.returncode == 1
    assert "the chip has no operator NonZero (layer 'places_NonZero')" in outcome.stderr
    assert names(tmp_path / "build") == {"nonzero_fp32_1b.failed"}


@pytest.mark.toolchain
def test_files_that_are_no_network(toolchain: None, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no network at all")
    (tmp_path / "cut.onnx").write_bytes(TINY.read_bytes()[:60000])
    # Three channels go into a convolution for five: the compiler itself would not notice.
    wrong = {"w": np.zeros((4, 5, 3, 3), np.float32)}
    save_network(tmp_path / "contradiction.onnx", [node("Conv", ["x", "w"], "y")], weights=wrong)
    for name in ("text", "cut", "contradiction", "missing"):
        outcome = run_compile(tmp_path / f"{name}.onnx", "--output", tmp_path / "build")
        assert outcome.returncode == 1, name
        assert f"{name}.onnx" in outcome.stderr
        assert outcome.stderr.count("\n") == 1, outcome.stderr
    assert names(tmp_path / "build") == set()


@pytest.mark.toolchain
def test_shapes_and_calibrations_that_cannot_be(toolchain: None, tmp_path: Path) -> None:
    fixed = save_network(tmp_path / "fixed.onnx", [node("Relu", ["x"], "y")])
    (tmp_path / "empty").mkdir()
    broken = write_pictures(tmp_path / "broken", 2)
    (broken / "001.png").write_bytes((broken / "001.png").read_bytes()[:80])
    int8 = ("--precision", "int8", "--calibration")
    for arguments, message in [
        ((fixed, "--batch", "4"), "--batch: "),
        ((fixed, "--size", "128"), "--size: "),
        ((TINY, "--precision", "int8"), "--calibration: int8 needs a folder of images"),
        ((TINY, *int8, tmp_path / "empty"), "--calibration: "),
        ((TINY, *int8, tmp_path / "missing"), "--calibration: there is no"),
        ((TINY, *int8, broken), "001.png' cannot be used: "),
    ]:
        outcome = run_compile(*arguments, "--output", tmp_path / "build")
        assert outcome.returncode == 2, outcome.stderr
        assert message in outcome.stderr
        assert outcome.stderr.count("\n") == 1, outcome.stderr
    assert names(tmp_path / "build") == set()


@pytest.mark.toolchain
def test_memory_that_runs_out(toolchain: None, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(TINY), "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].endswith("memory ran out")
    assert names(tmp_path) == {"tiny_fp32_1b.failed"}


def _descendants(process: int) -> Iterator[int]:
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        yield int(child)
        yield from _descendants(int(child))


def _wait_for(process: subprocess.Popen[str], program: str) -> int:
    """Wait until a program runs below a process; returns its number."""
    deadline = time.monotonic() + HANG_S
    while time.monotonic() < deadline and process.poll() is None:
        if (found := _find(process, program)) is not None:
            return found
    process.kill()
    pytest.fail(f"{program} did not start: {process.communicate()[1]}")


def _kill(process: subprocess.Popen[str], program: str) -> None:
    """Kill a program below a process, again if it was quicker to end by itself, until the process has ended too."""
    deadline = time.monotonic() + HANG_S
    while time.monotonic() < deadline and process.poll() is None:
        if (found := _find(process, program)) is not None:
            with suppress(ProcessLookupError):
                os.kill(found, signal.SIGKILL)


def _find(process: subprocess.Popen[str], program: str) -> int | None:
    for descendant in _try_descendants(process.pid):
        if program in command_of(descendant):
            return descendant
    return None


def _try_descendants(process: int) -> list[int]:
    try:
        return list(_descendants(process))
    except OSError:
        return []


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.toolchain
@pytest.mark.parametrize("program", ["model_transform.py", "tpuc-opt"])
def test_a_killed_compiler_leaves_nothing_but_its_log(toolchain: None, tmp_path: Path, program: str) -> None:
    process = start_compile(TINY, "--output", tmp_path)
    _kill(process, program)
    _, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == 1
    assert stderr.splitlines()[-1].endswith("was killed, as the kernel does when memory runs out")
    assert names(tmp_path) == {"tiny_fp32_1b.failed"}


@pytest.mark.toolchain
def test_a_stopped_command_takes_its_compiler_along(toolchain: None, tmp_path: Path) -> None:
    process = start_compile(TINY, "--output", tmp_path)
    compiler = _wait_for(process, "model_transform.py")
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == 1
    assert "stopped by SIGTERM" in stderr
    assert not _is_running(compiler)
    assert names(tmp_path) == {"tiny_fp32_1b.failed"}


@pytest.mark.toolchain
def test_after_a_killed_command_the_next_one_clears_up(toolchain: None, tmp_path: Path) -> None:
    process = start_compile(TINY, "--output", tmp_path)
    compiler = _wait_for(process, "model_transform.py")
    process.kill()
    process.communicate()
    assert len(names(tmp_path)) == 1
    while _is_running(compiler):
        pass
    outcome = run_compile(TINY, "--output", tmp_path, "--verify-count", "0")
    assert outcome.returncode == 0, outcome.stderr
    assert "not verified: as asked" in outcome.stderr
    assert names(tmp_path) == {"tiny_fp32_1b"}


@pytest.mark.toolchain
def test_a_full_disk(toolchain: None, tmp_path: Path) -> None:
    """On a file system of 8 MB, of a name space of its own."""
    mount = f"mount -t tmpfs -o size=8m none {tmp_path} && "
    probe = subprocess.run(["unshare", "-rm", "sh", "-c", mount + "true"], capture_output=True)
    if probe.returncode != 0:
        pytest.skip("this user may not mount a small file system")
    command = shlex.join([sys.executable, "-c", PROGRAM, str(TINY), "--output", str(tmp_path)])
    outcome = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{mount} {{ {command}; echo ended with $?; ls -A {tmp_path}; }}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    # What is listed after the code would be what is left on the small file system.
    assert outcome.stdout == "ended with 1\n", outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert "the disk is too full" in outcome.stderr
    assert "0.20 GB free, it has 0.01 GB" in outcome.stderr


def test_without_a_network_the_installation_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        python = find_python310()
    except LibraryError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("RAYSAIL_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    said: list[str] = []
    with pytest.raises(LibraryError, match="the package index cannot be reached"):
        install_toolchain(python=python, report=said.append)
    assert said[-1] == "downloading the compiler, 312 MB"
    left = {path.name for path in (tmp_path / "toolchain").iterdir()} - {".lock", "download"}
    assert left == set()
    with pytest.raises(LibraryError, match="is not installed"):
        find_toolchain()


@pytest.mark.toolchain
def test_installing_again_does_nothing(toolchain: None) -> None:
    said: list[str] = []
    try:
        assert install_toolchain(python=None, report=said.append) == find_toolchain()
    except ToolError as error:
        pytest.fail(str(error))
    assert said == []
