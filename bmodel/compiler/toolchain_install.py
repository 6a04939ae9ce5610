"""Installs the vendor's compiler: `install_toolchain`. The folder is made under another name and renamed when it works.

Three things keep the compiler from running as its wheel comes. The wheel puts its own, older glibc on the library
path: those files are set aside. It imports torch for one expression: a stand-in answers that. Its layer search
insists on drawing a graph with Graphviz that nobody looks at: a `dot` that draws nothing satisfies it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from bmodel.compiler import torch_stand_in
from bmodel.compiler.python310 import find_python310
from bmodel.compiler.toolchain import (
    LOCK_FILE,
    RECORD_NAME,
    Toolchain,
    ToolchainRecord,
    find_toolchain,
    list_sha256,
    toolchain_folder,
)
from bmodel.errors import LibraryError
from bmodel.files import FOREVER, lack_of_space, lock
from bmodel.libraries import (
    TPU_MLIR_VERSION,
    WHEEL_SHA256,
    check_machine,
    download_wheel,
    explain_pip_failure,
    install_simulator_libraries,
)

NEEDED_BYTES: Final = 3_200_000_000  # the wheel, the environment of 1.8 GB, and what pip unpacks on the way
OWN_GLIBC: Final = ("libc.so.6", "libm.so.6", "libpthread.so.0")
# Everything that an ONNX file's way through the compiler touches, so that a broken environment shows at once.
SELF_TEST: Final = "import pymlir, transform.OnnxConverter, calibration.search_qtable; print('works')"

Report = Callable[[str], None]


def install_toolchain(*, python: Path | None, report: Report) -> Toolchain:
    """Install the compiler and the chip simulator's libraries, unless they are there; safe to repeat.

    python: the Python 3.10 to use; found when it is None. What was downloaded before an interruption is used again.
    """
    check_machine()
    with _only_installer(report):
        try:
            toolchain = find_toolchain()
        except LibraryError:
            toolchain = _install(find_python310(python), report)
        install_simulator_libraries()
    return toolchain


def _install(python: Path, report: Report) -> Toolchain:
    target = toolchain_folder()
    _remove_unusable(target)
    if lack := lack_of_space(target.parent, NEEDED_BYTES):
        raise LibraryError(f"{lack}; make room, or name another folder in RAYSAIL_CACHE")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".installing-") as scratch:
        staged = Path(scratch) / "toolchain"
        _make_environment(python, staged, report)
        report("downloading the compiler, 312 MB")
        env_python = staged / "env/bin/python"
        wheel = download_wheel(target.parent / "download", python=env_python)
        report("installing the compiler and what it needs, a minute or so")
        _pip(env_python, Path(scratch), "--require-hashes", "--requirement", str(LOCK_FILE))
        _pip(env_python, Path(scratch), str(wheel))
        install_simulator_libraries(wheel)
        adapt_environment(staged)
        report("trying it")
        record = _finish(staged)
        staged.rename(target)
        shutil.rmtree(wheel.parent)
    return Toolchain(folder=target, record=record)


def _make_environment(python: Path, staged: Path, report: Report) -> None:
    report(f"making an environment with '{python}'")
    staged.mkdir()
    command = [str(python), "-m", "venv", str(staged / "env")]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        raise LibraryError(
            f"'{python}' could not make an environment: {explain_pip_failure(outcome.stderr + outcome.stdout)}"
        )


def _pip(python: Path, scratch: Path, *arguments: str) -> None:
    """Install exactly what is named, on the disk that was checked for space."""
    command = [
        *(str(python), "-m", "pip", "install", "--no-deps", "--no-cache-dir", "--only-binary=:all:"),
        *("--no-warn-script-location", "--disable-pip-version-check", *arguments),
    ]
    environment = os.environ | {"TMPDIR": str(scratch)}
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if outcome.returncode != 0:
        raise LibraryError(
            f"pip could not install the compiler: {explain_pip_failure(outcome.stderr + outcome.stdout)}"
        )


def adapt_environment(folder: Path) -> None:
    """Make the freshly installed compiler fit for this host; see the module's description for why."""
    packages = folder / "env/lib/python3.10/site-packages"
    set_aside = folder / "set_aside"
    set_aside.mkdir()
    for name in OWN_GLIBC:
        library = packages / "tpu_mlir/lib/third_party" / name
        if not library.is_file():
            raise LibraryError(f"the compiler's wheel must hold '{library.relative_to(packages)}'")
        library.rename(set_aside / name)
    stand_in = packages / "torch/__init__.py"
    stand_in.parent.mkdir()
    shutil.copyfile(Path(torch_stand_in.__file__), stand_in)
    dot = folder / "env/bin/dot"
    dot.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    dot.chmod(0o755)
    for part in ("bin", "python/tools"):
        for tool in (packages / "tpu_mlir" / part).iterdir():
            tool.chmod(0o755)


def _finish(staged: Path) -> ToolchainRecord:
    """Try the compiler and write the record."""
    record = ToolchainRecord(
        tpu_mlir=TPU_MLIR_VERSION,
        wheel_sha256=WHEEL_SHA256,
        lock_sha256=list_sha256(),
        python=_environment_version(staged / "env"),
        installed_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    toolchain = Toolchain(folder=staged, record=record)
    test = subprocess.run(
        [str(toolchain.python), "-c", SELF_TEST],
        capture_output=True,
        text=True,
        check=False,
        env=toolchain.environment(),
    )
    if test.returncode != 0 or not test.stdout.strip().endswith("works"):
        cause = (test.stderr.strip() or "no message").splitlines()[-1]
        raise LibraryError(f"the compiler was installed and does not start: {cause}")
    (staged / RECORD_NAME).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record


def _environment_version(environment: Path) -> str:
    """Python's version by the environment's own description: the running one is the library that the wheel brings."""
    lines = (environment / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    values = dict(line.split(" = ", 1) for line in lines if " = " in line)
    return values.get("version", values.get("version_info", "3.10"))


def _remove_unusable(target: Path) -> None:
    """Clear away what earlier attempts left: nobody else installs while we hold the lock."""
    for leftover in (target, *target.parent.glob(".installing-*")):
        if leftover.exists():
            shutil.rmtree(leftover)


@contextmanager
def _only_installer(report: Report) -> Iterator[None]:
    """Hold the install lock; the kernel lets go of it when the process dies."""
    folder = toolchain_folder().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w", encoding="utf-8") as file:
            if not lock(file.fileno()):
                report("waiting for another installation to end")
                lock(file.fileno(), wait_s=FOREVER)
            yield
    except OSError as error:
        raise LibraryError(f"cannot install into '{folder}': {error.strerror}") from error
