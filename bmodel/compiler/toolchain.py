"""Finds the vendor's compiler, which lives in a Python 3.10 environment of its own below the cache folder.

`<cache>/toolchain/<version>-<lock>` holds it, `lock` standing for the list of everything beside the compiler
(toolchain_lock.txt). toolchain_install.py makes that folder, whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bmodel.errors import LibraryError
from bmodel.libraries import TPU_MLIR_VERSION, cache_folder
from bmodel.validation import ExactModel

LOCK_FILE: Final = Path(__file__).with_name("toolchain_lock.txt")
RECORD_NAME: Final = "toolchain.json"


class ToolchainRecord(ExactModel):
    """What was installed; written last."""

    tpu_mlir: str
    wheel_sha256: str
    lock_sha256: str
    python: str
    installed_at: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolchain:
    """An installed compiler."""

    folder: Path
    record: ToolchainRecord

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return self.folder / "env/bin/python"

    @property
    def package(self) -> Path:
        """The folder of the compiler's package."""
        return self.folder / "env/lib/python3.10/site-packages/tpu_mlir"

    def tool(self, name: str) -> list[str]:
        """Return the start of the command line of one of the compiler's Python tools."""
        return [str(self.python), str(self.package / "python/tools" / f"{name}.py")]

    def environment(self) -> dict[str, str]:
        """Return the environment variables to run a tool with: ours, less what would reach into its Python."""
        package = self.package
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PYTHON") and name not in {"VIRTUAL_ENV", "LD_PRELOAD"}
        }
        path = [self.python.parent, package / "bin", package / "python/tools"]
        return inherited | {
            "PATH": os.pathsep.join([*map(str, path), os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": os.pathsep.join(
                str(package / part) for part in (".", "python", "customlayer/python")
            ),
            "PYTHONNOUSERSITE": "1",
            "LD_LIBRARY_PATH": os.pathsep.join(
                str(package / part) for part in ("lib", "lib/capi", "lib/third_party")
            ),
            "TPUC_ROOT": str(package),
            "OMP_NUM_THREADS": str(min(4, os.cpu_count() or 1)),
        }


def toolchain_folder() -> Path:
    """Where this version of the compiler belongs."""
    return cache_folder() / "toolchain" / f"{TPU_MLIR_VERSION}-{list_sha256()[:8]}"


def find_toolchain() -> Toolchain:
    """Find the installed compiler; raises LibraryError that says how to install it or why it cannot be used."""
    folder = toolchain_folder()
    try:
        record = ToolchainRecord.model_validate_json((folder / RECORD_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        raise LibraryError(
            f"the compiler tpu_mlir {TPU_MLIR_VERSION} is not installed in '{folder}': run 'raysail toolchain install'"
        ) from error
    toolchain = Toolchain(folder=folder, record=record)
    if not toolchain.python.exists():
        raise LibraryError(
            f"the Python {record.python} that the compiler in '{folder}' was installed with is gone: "
            "bring it back, or delete that folder and run 'raysail toolchain install'"
        )
    return toolchain


def list_sha256() -> str:
    """SHA-256 of the list of packages beside the compiler."""
    return hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()
