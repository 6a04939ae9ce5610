"""Where a run's files lie: a POSIX folder, or a prefix in an object store, behind one small protocol.

A POSIX folder can rename and append; an object store can do neither, so there a commit is a small object of its
own, written last. Both promise that a file is visible whole or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs

from bmodel.errors import ConfigurationError
from jobs.image_sources import hide_secrets, why_no_store
from jobs.run_folder.local_store import LocalStore
from jobs.run_folder.object_store import ObjectStore

__all__ = ["LocalStore", "ObjectStore", "RunStore", "open_store"]


class RunStore(Protocol):
    """The files of one run, by their path inside it with '/' between the parts."""

    place: str

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file, whole or not at all, over an older one; raises RunError."""

    def read(self, name: str) -> bytes:
        """Read a file; raises FileNotFoundError or RunError."""

    def names(self, folder: str) -> list[str]:
        """The names of the files right inside a folder, sorted; empty where there is no such folder."""

    def entries(self) -> list[str]:
        """The names of all files and folders right inside the run's folder, hidden ones left out, sorted."""

    def remove(self, name: str) -> None:
        """Remove a file that is there."""

    def part_name(self, stem: str) -> str:
        """The name for a new part file: on an object store no two attempts share one."""

    def append_commit(self, record: dict[str, object], stem: str) -> None:
        """Make a commit visible; after this call it stands."""

    def commits(self) -> list[dict[str, object]]:
        """Every commit that stands, oldest first."""

    def retain_commits(self, records: list[dict[str, object]]) -> None:
        """Replace the commits by those of them that are to stand."""

    def remove_unfinished(self) -> None:
        """Remove what killed drivers left half written."""


def open_store(output: str) -> RunStore:
    """The store of a folder or URL; a folder is made when it is missing."""
    if "://" not in output:
        return LocalStore(Path(output))
    try:
        filesystem, base = pyarrow.fs.FileSystem.from_uri(output)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = why_no_store(error, output)
        raise ConfigurationError(f"--output: cannot use '{hide_secrets(output)}': {reason}") from None
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        return LocalStore(Path(base))
    return ObjectStore(filesystem, base, place=hide_secrets(output))
