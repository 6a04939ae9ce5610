"""Finds a Python 3.10: the vendor's compiler runs under no other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bmodel.errors import ConfigurationError, LibraryError

ANSWER_DEADLINE_S: Final = 20
# Prints the version, then proves that an environment can be made: distributions like to split that part off.
QUESTION: Final = "import sys; print('%d.%d' % sys.version_info[:2]); import ensurepip, venv"
HOW_TO_GET_ONE: Final = (
    "get one with 'uv python install 3.10' or 'pyenv install 3.10', or install your distribution's python3.10 and "
    "python3.10-venv, or name one with --python"
)


def find_python310(named: Path | None = None) -> Path:
    """Find a Python 3.10 that can make environments, on PATH, in pyenv or with uv; or check the one named.

    Raises ConfigurationError when the named one will not do, LibraryError that lists every Python tried and says
    how to get one when there is none.
    """
    if named is not None:
        fault = what_is_wrong_with(named)
        if fault:
            raise ConfigurationError(f"--python must name a Python 3.10, '{named}' {fault}")
        return named
    tried = []
    for candidate in dict.fromkeys(_candidates()):
        fault = what_is_wrong_with(candidate)
        if fault is None:
            return candidate
        tried.append(f"'{candidate}' {fault}")
    seen = f" ({'; '.join(tried)})" if tried else ""
    raise LibraryError(
        f"the compiler needs Python 3.10, and there is none on PATH, in pyenv or with uv{seen}: {HOW_TO_GET_ONE}"
    )


def what_is_wrong_with(python: Path) -> str | None:
    """Ask an interpreter for its version and for `venv`; returns what is wrong with it, None if it will do."""
    try:
        answer = subprocess.run(
            [str(python), "-c", QUESTION],
            capture_output=True,
            text=True,
            timeout=ANSWER_DEADLINE_S,
            check=False,
        )
    except OSError as error:
        return f"cannot be started: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"does not answer within {ANSWER_DEADLINE_S} s"
    version = answer.stdout.strip()
    if answer.returncode != 0 and version != "3.10":
        return "does not run"
    if version != "3.10":
        return f"is Python {version}"
    return None if answer.returncode == 0 else "has no venv and ensurepip (python3.10-venv is not installed)"


def _candidates() -> Iterator[Path]:
    """Yield interpreters that may be a Python 3.10, the likeliest first."""
    if sys.version_info[:2] == (3, 10):
        yield Path(getattr(sys, "_base_executable", sys.executable))
    for folder in os.get_exec_path():
        python = Path(folder) / "python3.10"
        if os.access(python, os.X_OK):
            yield python
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob("versions/3.10*/bin/python3.10"), reverse=True)
    yield from _uv_candidates()


def _uv_candidates() -> Iterator[Path]:
    uv = shutil.which("uv")
    if uv is None:
        return
    # Without downloads: what is fetched, and from where, is the user's decision.
    command = [uv, "python", "find", "--no-python-downloads", "3.10"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_DEADLINE_S, check=False)
    if answer.returncode == 0 and answer.stdout.strip():
        yield Path(answer.stdout.strip())
