"""Find the vendor's runtime libraries, and fetch the chip simulator's from the compiler's wheel.

Two sets of the same C interface exist: `libbmrt` on the chip simulator (from the `tpu_mlir` wheel, fetched, never
shipped) and `libbmrt` of libsophon on a machine with cards. `python -m bmodel.libraries` fetches the first.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bmodel.errors import LibraryError, RaysailError
from bmodel.files import file_sha256

TPU_MLIR_VERSION: Final = "1.30.2"
WHEEL_SHA256: Final = "542807361c9eeb0777a7bd35e501d8c71cce767e4bce021a3cb3a7c25c35f909"
WHEEL_LIBRARY_FOLDER: Final = "tpu_mlir/lib"

# In loading order: each one finds its predecessors already in the process.
SIMULATOR_SHA256: Final = {
    "libcmodel_bm1684.so": "4404428c33c21bee9be7d40d9e56353f471541a426d32649fcf0dd08a12155aa",
    "libbmlib.so.0": "ce669b2d7cf1776b1282789250def9fca8b4f9f00a7f793ab1b17fc8dad6accb",
    "libbmrt.so.1.0": "8a78ff11efd86e644058fcb868e5d764665cb8205d8282a36aa582748ab0ae46",
}
# libsophon names them by full version, with links; the first that exists is taken.
CARD_NAMES: Final = (("libbmlib.so.0", "libbmlib.so"), ("libbmrt.so.1.0", "libbmrt.so"))
CARD_FOLDER: Final = Path("/opt/sophon/libsophon-current/lib")
MINIMUM_GLIBC: Final = (2, 34)


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeLibraries:
    """The vendor's runtime on disk.

    kind: `simulator`, or `card` for a real one.
    load_order: absolute paths, to load one after the other.
    """

    kind: Literal["simulator", "card"]
    load_order: tuple[Path, ...]

    @property
    def runtime(self) -> Path:
        """`libbmrt`."""
        return self.load_order[-1]

    @property
    def driver(self) -> Path:
        """`libbmlib`."""
        return self.load_order[-2]


def cache_folder() -> Path:
    """Where fetched files live: `RAYSAIL_CACHE`, else `raysail` in the user's cache folder."""
    if own := os.environ.get("RAYSAIL_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "raysail"


def find_simulator_libraries() -> RuntimeLibraries:
    """Find the chip simulator's libraries in `RAYSAIL_LIBRARIES` or in the cache.

    Raises LibraryError that says how to get them, or why this machine cannot use them.
    """
    check_machine()
    own = os.environ.get("RAYSAIL_LIBRARIES")
    folder = Path(own).expanduser().absolute() if own else _installed_folder()
    missing = [name for name in SIMULATOR_SHA256 if not (folder / name).is_file()]
    if missing:
        hint = "correct RAYSAIL_LIBRARIES" if own else "fetch them with 'python -m bmodel.libraries'"
        raise LibraryError(f"the chip simulator needs {', '.join(missing)} in '{folder}': {hint}")
    return RuntimeLibraries(kind="simulator", load_order=tuple(folder / name for name in SIMULATOR_SHA256))


def find_card_libraries() -> RuntimeLibraries:
    """Find libsophon's libraries for real cards in `RAYSAIL_LIBSOPHON` or where its package installs them."""
    own = os.environ.get("RAYSAIL_LIBSOPHON")
    folder = Path(own).expanduser().absolute() if own else CARD_FOLDER
    paths = []
    for names in CARD_NAMES:
        found = [folder / name for name in names if (folder / name).is_file()]
        if not found:
            raise LibraryError(
                f"libsophon needs {' or '.join(names)} in '{folder}': install libsophon, or name its lib folder "
                "in RAYSAIL_LIBSOPHON"
            )
        paths.append(found[0])
    return RuntimeLibraries(kind="card", load_order=tuple(paths))


def install_simulator_libraries(wheel: Path | None = None) -> RuntimeLibraries:
    """Fetch the simulator's libraries into the cache, once; the wheel they come in is not kept.

    wheel: a copy that is already downloaded and checked.
    """
    check_machine()
    target = _installed_folder()
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
            unpacked = Path(scratch) / "libraries"
            unpack_libraries(wheel or download_wheel(Path(scratch)), unpacked)
            _move_into_place(unpacked, target)
    return find_simulator_libraries()


def download_wheel(target_dir: Path, *, python: Path | None = None) -> Path:
    """Fetch the pinned compiler wheel (312 MB) into a folder with pip, and check its SHA-256.

    python: whose pip to use, this Python's by default. A wheel that is already there and intact is used as it is.
    """
    wheel = target_dir / f"tpu_mlir-{TPU_MLIR_VERSION}-py3-none-any.whl"
    if wheel.is_file() and file_sha256(wheel) == WHEEL_SHA256:
        return wheel
    target_dir.mkdir(parents=True, exist_ok=True)
    # The wheel is tagged for Python 3.10 alone; it is unpacked here, never installed into this Python.
    command = [
        *(str(python or sys.executable), "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"),
        *("--python-version", "3.10", "--only-binary=:all:", "--dest", str(target_dir)),
        f"tpu_mlir=={TPU_MLIR_VERSION}",
    ]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        cause = explain_pip_failure(outcome.stderr + outcome.stdout)
        raise LibraryError(f"pip could not download tpu_mlir {TPU_MLIR_VERSION}: {cause}")
    if not wheel.is_file():
        raise LibraryError(
            f"pip downloaded tpu_mlir under a name other than '{wheel.name}' into '{target_dir}'"
        )
    _check_sha256(wheel, WHEEL_SHA256)
    return wheel


def unpack_libraries(wheel: Path, target_dir: Path) -> None:
    """Unpack the simulator's libraries from the compiler's wheel and check each one's SHA-256."""
    target_dir.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for name, sha256 in SIMULATOR_SHA256.items():
            path = target_dir / name
            with archive.open(f"{WHEEL_LIBRARY_FOLDER}/{name}") as packed, path.open("wb") as file:
                shutil.copyfileobj(packed, file)
            path.chmod(0o755)
            _check_sha256(path, sha256)


def check_machine() -> None:
    """Raise LibraryError unless the simulator's libraries can be loaded here: x86-64 Linux, glibc 2.34 or newer."""
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in {"x86_64", "AMD64"}:
        raise LibraryError(f"the chip simulator needs x86-64 Linux, this machine is {machine} {system}")
    name, version = platform.libc_ver()
    if name != "glibc" or glibc_version(version) < MINIMUM_GLIBC:
        needed = ".".join(map(str, MINIMUM_GLIBC))
        raise LibraryError(
            f"the chip simulator needs glibc {needed} or newer, this machine has {name or 'another C library'} {version}"
        )


def glibc_version(text: str) -> tuple[int, int]:
    """`2.36` → (2, 36); (0, 0) for anything else."""
    parts = text.split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts[:2]):
        return 0, 0
    return int(parts[0]), int(parts[1])


def _installed_folder() -> Path:
    return cache_folder() / "simulator" / TPU_MLIR_VERSION


def _check_sha256(path: Path, expected: str) -> None:
    found = file_sha256(path)
    if found != expected:
        path.unlink()
        raise LibraryError(f"'{path.name}' must have SHA-256 {expected}, got {found}: it was deleted")


def _move_into_place(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        # Another process may have installed the same files meanwhile.
        if not target.is_dir():
            raise LibraryError(f"cannot create '{target}': {error.strerror}") from error


def main() -> int:
    """Fetch the simulator's libraries and print where they are."""
    try:
        libraries = install_simulator_libraries()
    except RaysailError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"chip simulator {TPU_MLIR_VERSION}: {libraries.runtime.parent}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())


# The first pattern that is found tells the cause; pip's last line alone often hides it ("no matching distribution"
# is also what it says when the network is down).
CAUSES: Final = (
    (r"No space left on device", "the disk is full"),
    (r"DO NOT MATCH THE HASHES", "a downloaded file has another SHA-256 than the one on record"),
    (
        r"NewConnection|NameResolution|Connect(ion)?Timeout|ReadTimeout|Proxy|Network is unreachable|name resolution",
        "the package index cannot be reached",
    ),
    # Without retries, pip does not report that it could not connect.
    (r"from versions: none", "the package index does not have it, or cannot be reached"),
    (r"SSLError|CERTIFICATE_VERIFY_FAILED", "the package index's certificate is not trusted"),
    (r"Permission denied", "a folder cannot be written"),
    (r"No module named pip", "this Python has no pip"),
)


def explain_pip_failure(output: str) -> str:
    """Return the cause found in pip's output, followed by pip's own last error line."""
    errors = [line.strip() for line in output.splitlines() if line.strip().startswith("ERROR:")]
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    own_words = errors[-1].removeprefix("ERROR:").strip() if errors else (lines or ["it printed nothing"])[-1]
    for pattern, cause in CAUSES:
        if re.search(pattern, output):
            return f"{cause} (pip: {own_words})"
    return own_words
