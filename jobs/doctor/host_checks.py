"""The checks of any host: packages, Python, disks, the chip simulator, the compiler."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, version
from pathlib import Path
from typing import Literal

from bmodel.compiler.toolchain import find_toolchain
from bmodel.errors import LibraryError, RaysailError
from bmodel.files import file_sha256
from bmodel.libraries import SIMULATOR_SHA256, cache_folder, check_machine, find_simulator_libraries

DISTRIBUTION = "raysail"
PACKAGES = ("bmodel", "data", "models", "tpu_worker", "cluster", "jobs")
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)
LEAST_FREE_BYTES = 2_000_000_000
RAY_FULL = 0.95  # above this, Ray spills no more objects to the disk
ROOT = Path(__file__).resolve().parents[2]


def check_packages(root: Path = ROOT) -> Iterator[Check]:
    """Whether all six packages are Raysail's own: other distributions have a `cluster`, `data` or `models` too."""
    foreign = {
        name: place
        for name in PACKAGES
        if (place := _place_of(name)) is None or place.resolve().parent != root.resolve()
    }
    if foreign:
        found = ", ".join(f"{name} from '{place or 'nowhere'}'" for name, place in foreign.items())
        yield Check(
            name="packages",
            status="fail",
            found=f"not Raysail's own: {found}",
            hint=f"install Raysail into an environment of its own; Raysail's are in '{root}'",
        )
        return
    try:
        installed = f"{DISTRIBUTION} {distribution(DISTRIBUTION).version}"
    except PackageNotFoundError:
        installed = "not installed, run from a checkout"
    found = f"all six are Raysail's own, in '{root}' ({installed})"
    others = _other_owners()
    if others:
        hint = f"uninstall {' and '.join(others)}, or use an environment of its own: the names clash"
        yield Check(name="packages", status="note", found=found, hint=hint)
    else:
        yield Check(name="packages", status="ok", found=found)


def check_python() -> Iterator[Check]:
    """Python's version, and the libraries on whose versions the figures depend."""
    running = sys.version_info[:2]
    fits = OLDEST_PYTHON <= running <= NEWEST_PYTHON
    oldest, newest = (".".join(map(str, pair)) for pair in (OLDEST_PYTHON, NEWEST_PYTHON))
    yield Check(
        name="Python",
        status="ok" if fits else "fail",
        found=f"{platform.python_version()}, {sys.executable}",
        hint="" if fits else f"Raysail needs Python {oldest} to {newest}",
    )
    needed = ("ray", "numpy", "opencv-python-headless", "onnxruntime", "pyarrow")
    known = {name: _version(name) for name in needed}
    missing = [name for name, number in known.items() if number is None]
    yield Check(
        name="libraries",
        status="fail" if missing else "ok",
        found=", ".join(f"{name} {number or 'missing'}" for name, number in known.items()),
        hint=f"install {', '.join(missing)}: 'pip install {DISTRIBUTION}' installs them" if missing else "",
    )


def check_disks(folders: dict[str, Path] | None = None) -> Iterator[Check]:
    """Space for results, fetched files and Ray's session."""
    folders = folders or {
        "results": Path.cwd(),
        "cache": cache_folder(),
        "temporary files": Path(tempfile.gettempdir()),
    }
    for what, folder in folders.items():
        place = next(path for path in (folder, *folder.parents) if path.exists())
        usage = shutil.disk_usage(place)
        found = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free in '{folder}'"
        name = f"disk, {what}"
        if not os.access(place, os.W_OK):
            hint = f"this user cannot write to '{place}'"
            yield Check(name=name, status="note" if what == "results" else "fail", found=found, hint=hint)
        elif usage.free < LEAST_FREE_BYTES:
            hint = f"free some space: at least {LEAST_FREE_BYTES / 1e9:.0f} GB are needed"
            yield Check(name=name, status="fail", found=found, hint=hint)
        elif usage.used / usage.total > RAY_FULL:
            hint = f"over {RAY_FULL:.0%} full: Ray no longer spills objects to this disk"
            yield Check(name=name, status="note", found=found, hint=hint)
        else:
            yield Check(name=name, status="ok", found=found)


def check_simulator() -> Iterator[Check]:
    """Whether this machine can run the chip simulator, and whether its libraries are present and intact."""
    machine = f"{platform.machine()} {platform.system()}, {' '.join(platform.libc_ver())}"
    try:
        check_machine()
    except LibraryError as error:
        yield Check(
            name="machine", status="note", found=machine, hint=f"{error}; cards and the CPU still work"
        )
        return
    yield Check(name="machine", status="ok", found=f"{machine}: fit for the chip simulator")
    try:
        libraries = find_simulator_libraries()
    except LibraryError as error:
        hint = f"{error} (only --device simulator needs them)"
        yield Check(
            name="simulator",
            status="fail" if os.environ.get("RAYSAIL_LIBRARIES") else "note",
            found="not installed",
            hint=hint,
        )
        return
    other = [path.name for path in libraries.load_order if file_sha256(path) != SIMULATOR_SHA256[path.name]]
    yield Check(
        name="simulator",
        status="note" if other else "ok",
        found=f"libbmrt in '{libraries.runtime.parent}'"
        + (f", with a different {' and '.join(other)}" if other else ""),
        hint="damaged, or a version other than the tested one" if other else "",
    )


def check_toolchain() -> Iterator[Check]:
    """Whether models can be compiled here."""
    try:
        toolchain = find_toolchain()
    except RaysailError as error:
        hint = f"{error} (only for compiling models)"
        yield Check(name="compiler", status="note", found="not installed", hint=hint)
        return
    found = f"tpu_mlir {toolchain.record.tpu_mlir} in '{toolchain.folder}'"
    yield Check(name="compiler", status="ok", found=found)


def _place_of(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent


def _other_owners() -> list[str]:
    """Other installed distributions with a package of the same name as one of ours."""
    owners = packages_distributions()
    return sorted({owner for name in PACKAGES for owner in owners.get(name, ()) if owner != DISTRIBUTION})


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


Status = Literal["ok", "note", "fail"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A check's outcome. note: something that not everybody needs is missing. hint: what to do; empty if ok."""

    name: str
    status: Status
    found: str
    hint: str = ""

    def __post_init__(self) -> None:
        if (self.status == "fail") and not self.hint:
            raise ValueError(f"a failed check must have a hint, got none for '{self.name}'")


def run_checks(checks: Iterable[tuple[str, Callable[[], Iterable[Check]]]]) -> list[Check]:
    """Run named groups of checks; one that cannot be run fails, and the others continue."""
    outcome: list[Check] = []
    for name, group in checks:
        try:
            outcome += group()
        except (RaysailError, ImportError, OSError) as error:
            reason = " ".join(f"{error}".split())
            hint = "this check could not be run; see the reason"
            outcome.append(
                Check(name=name, status="fail", found=f"{type(error).__name__}: {reason}", hint=hint)
            )
    return outcome
