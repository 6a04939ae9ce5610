"""Machine, versions and commit that figures were measured with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.bench.record import Machine
from tests.helpers.paths import ROOT

PRODUCT = ("bmodel", "data", "tpu_worker", "cluster", "models", "jobs", "tests/bench")
LIBRARIES = (
    *("ray", "numpy", "opencv-python-headless", "onnxruntime", "pyarrow", "hotcoco", "pycocotools"),
    *("pandas", "numba"),
)


def this_machine() -> Machine:
    return Machine(
        processor=_field("/proc/cpuinfo", "model name"),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(int(_field("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        kernel=platform.release(),
    )


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> tuple[str, bool]:
    """The commit, and whether a file of the product or of the benchmarks differs from it."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *PRODUCT)
    return _git("rev-parse", "HEAD") or "unknown", bool(changed)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
