"""Where a run's files lie: a POSIX folder, or a prefix in an object store, behind one small protocol.

A POSIX folder can rename and append; an object store can do neither, so there a commit is a small object of its
own, written last. Both promise that a file is visible whole or not at all.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs

from bmodel.errors import ConfigurationError, RunError

COMMITS = "commits.jsonl"


class RunStore(Protocol):
    """The files of one run, by their path inside it with '/' between the parts."""

    place: str

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file, whole or not at all, over an older one; raises RunError."""

    def read(self, name: str) -> bytes:
        """Read a file; raises FileNotFoundError or RunError."""

    def names(self, folder: str) -> list[str]:
        """The names of the files right inside a folder, sorted; empty where there is no such folder."""

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
        raise ConfigurationError(f"--output: cannot use '{output}': {error}") from None
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        return LocalStore(Path(base))
    return ObjectStore(filesystem, base, place=output)


@contextmanager
def _as_run_error(action: str, place: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RunError(f"cannot {action} '{place}': {reason}") from error


class LocalStore:
    """A folder on a POSIX file system, local or shared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.place = str(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"--output: cannot make the folder '{folder}': {error.strerror}"
            ) from None

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write under a temporary name, then rename."""
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        with _as_run_error("write", str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise

    def read(self, name: str) -> bytes:
        """Read a file whole."""
        with _as_run_error("read", f"{self.place}/{name}"):
            return (self.folder / name).read_bytes()

    def names(self, folder: str) -> list[str]:
        """Files whose names do not start with a dot: those are unfinished."""
        path = self.folder / folder
        if not path.is_dir():
            return []
        return sorted(entry.name for entry in os.scandir(path) if entry.is_file() and entry.name[0] != ".")

    def remove(self, name: str) -> None:
        """Unlink the file."""
        with _as_run_error("remove", f"{self.place}/{name}"):
            (self.folder / name).unlink()

    def part_name(self, stem: str) -> str:
        """The stem decides: a rename replaces what an earlier attempt left."""
        return f"part-{stem}.parquet"

    def append_commit(self, record: dict[str, object], stem: str) -> None:  # noqa: ARG002 - one file holds them all
        """Append one line with one system call."""
        path = self.folder / COMMITS
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        with _as_run_error("append to", str(path)):
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(28, "the line was written in part: no space is left")
            finally:
                os.close(descriptor)

    def commits(self) -> list[dict[str, object]]:
        """The whole lines; a last one without its end was never finished."""
        path = self.folder / COMMITS
        if not path.exists():
            return []
        *whole, _unfinished = path.read_bytes().split(b"\n")
        return [record for line in whole if (record := _json_or_none(line)) is not None]

    def retain_commits(self, records: list[dict[str, object]]) -> None:
        """Rewrite the file."""
        lines = [json.dumps(record, separators=(",", ":")) + "\n" for record in records]
        self.write(COMMITS, "".join(lines).encode())

    def remove_unfinished(self) -> None:
        """Remove what killed drivers left half written."""
        for folder in ("images", "detections", "."):
            path = self.folder / folder
            for entry in path.glob(".*.tmp") if path.is_dir() else ():
                entry.unlink(missing_ok=True)


def _json_or_none(line: bytes) -> dict[str, object] | None:
    """The record of a line; None for one that a killed driver began and its successor wrote on."""
    try:
        record: dict[str, object] = json.loads(line)
    except ValueError:
        return None
    return record


class ObjectStore:
    """A prefix in an object store, through pyarrow.fs; an upload that is not finished is never visible."""

    def __init__(self, filesystem: pyarrow.fs.FileSystem, base: str, *, place: str) -> None:
        self._filesystem = filesystem
        self._base = base.rstrip("/")
        self.place = place

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Upload the object."""
        with _as_run_error("write", f"{self.place}/{name}"):
            with self._filesystem.open_output_stream(f"{self._base}/{name}") as stream:
                stream.write(data)

    def read(self, name: str) -> bytes:
        """Download the object."""
        with _as_run_error("read", f"{self.place}/{name}"):
            with self._filesystem.open_input_stream(f"{self._base}/{name}") as stream:
                return bytes(stream.read())

    def names(self, folder: str) -> list[str]:
        """List the prefix."""
        selector = pyarrow.fs.FileSelector(f"{self._base}/{folder}", allow_not_found=True)
        with _as_run_error("list", f"{self.place}/{folder}"):
            found = self._filesystem.get_file_info(selector)
        return sorted(entry.base_name for entry in found if entry.type == pyarrow.fs.FileType.File)

    def remove(self, name: str) -> None:
        """Delete the object."""
        with _as_run_error("remove", f"{self.place}/{name}"):
            self._filesystem.delete_file(f"{self._base}/{name}")

    def part_name(self, stem: str) -> str:
        """Unique: an attempt never overwrites what a commit names."""
        return f"part-{stem}-{uuid.uuid4().hex[:8]}.parquet"

    def append_commit(self, record: dict[str, object], stem: str) -> None:
        """Write the commit's own object."""
        self.write(f"commits/{stem}.json", json.dumps(record).encode())

    def commits(self) -> list[dict[str, object]]:
        """Read every commit object."""
        return [json.loads(self.read(f"commits/{name}")) for name in self.names("commits")]

    def retain_commits(self, records: list[dict[str, object]]) -> None:
        """Delete the commits that are not to stand."""
        stand = {f"{record['stem']}.json" for record in records}
        for name in self.names("commits"):
            if name not in stand:
                self.remove(f"commits/{name}")

    def remove_unfinished(self) -> None:
        """Nothing: an unfinished upload is invisible, and the store expires it."""
