"""What both kinds of store share: errors become RunError at one border, and a damaged record is no record."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs

from bmodel.errors import ConfigurationError, RunError
from bmodel.files import sync_file_system, sync_folder, whole_file
from jobs.inputs.image_sources import hide_secrets, why_no_store


@contextmanager
def as_run_error(action: str, place: str, *, pass_missing: bool = False) -> Iterator[None]:
    """Raise what goes wrong in a `with` block as RunError.

    pass_missing: whether a file that is not there stays a FileNotFoundError.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if pass_missing and isinstance(error, FileNotFoundError):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RunError(f"cannot {action} '{place}': {reason}") from error


def json_or_none(text: bytes) -> dict[str, object] | None:
    """A commit's record; None where the text is damaged: then its images are done again."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


COMMITS = "commits.jsonl"


class LocalStore:
    """A folder on a POSIX file system, local or shared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.place = str(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise ConfigurationError(f"--output: must be a folder, and '{folder}' is a file") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigurationError(f"--output: cannot make the folder '{folder}': {reason}") from None
        if not os.access(self.folder, os.R_OK | os.X_OK):
            raise ConfigurationError(f"--output: '{folder}' cannot be read by this user")

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write under a temporary name, then rename; content and name are on the disk when this returns."""
        path = self.folder / name
        with as_run_error("write", str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path, sync=True) as file:
                file.write(data)

    def read(self, name: str) -> bytes:
        """Read a file whole."""
        with as_run_error("read", f"{self.place}/{name}", pass_missing=True):
            return (self.folder / name).read_bytes()

    def names(self, folder: str) -> list[str]:
        """Files whose names do not start with a dot: those are unfinished."""
        path = self.folder / folder
        if not path.is_dir():
            return []
        with as_run_error("list", str(path)):
            return sorted(
                entry.name for entry in os.scandir(path) if entry.is_file() and entry.name[0] != "."
            )

    def entries(self) -> list[str]:
        """List the folder."""
        with as_run_error("list", self.place):
            return sorted(path.name for path in self.folder.iterdir() if path.name[0] != ".")

    def remove(self, name: str) -> None:
        """Unlink the file."""
        with as_run_error("remove", f"{self.place}/{name}"):
            (self.folder / name).unlink(missing_ok=True)

    def part_name(self, stem: str) -> str:
        """The stem decides: a rename replaces what an earlier attempt left."""
        return f"part-{stem}.parquet"

    def append_commit(self, record: dict[str, object], stem: str) -> None:  # noqa: ARG002 - one file holds them all
        """Append one line with one system call and put it on the disk, as its part files are by then.

        Half a line is taken back, or it would spoil the next one.
        """
        path = self.folder / COMMITS
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        with as_run_error("append to", str(path)):
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                size = os.fstat(descriptor).st_size
                if os.write(descriptor, line) != len(line):
                    os.ftruncate(descriptor, size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if size == 0:
                sync_folder(self.folder)

    def commits(self) -> list[dict[str, object]]:
        """The whole lines; a last one without its end was never finished."""
        path = self.folder / COMMITS
        if not path.exists():
            return []
        with as_run_error("read", str(path)):
            *whole, _unfinished = path.read_bytes().split(b"\n")
        return [record for line in whole if (record := json_or_none(line)) is not None]

    def retain_commits(self, records: list[dict[str, object]]) -> None:
        """Rewrite the file."""
        lines = [json.dumps(record, separators=(",", ":")) + "\n" for record in records]
        self.write(COMMITS, "".join(lines).encode())

    def settle(self) -> None:
        """Flush the file system: one call for however many label files."""
        with as_run_error("flush", self.place):
            sync_file_system(self.folder)

    def remove_unfinished(self) -> None:
        """Remove what killed drivers left half written."""
        for folder in ("images", "detections", "health", "."):
            path = self.folder / folder
            for entry in path.glob(".*.tmp") if path.is_dir() else ():
                entry.unlink(missing_ok=True)
        self._cut_unfinished_line()

    def _cut_unfinished_line(self) -> None:
        path = self.folder / COMMITS
        if path.exists():
            with as_run_error("mend", str(path)):
                os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


class ObjectStore:
    """A prefix in an object store, through pyarrow.fs; an upload that is not finished is never visible."""

    def __init__(self, filesystem: pyarrow.fs.FileSystem, base: str, *, place: str) -> None:
        self._filesystem = filesystem
        self._base = base.rstrip("/")
        self.place = place

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Upload the object."""
        with as_run_error("write", f"{self.place}/{name}"):
            with self._filesystem.open_output_stream(f"{self._base}/{name}") as stream:
                stream.write(data)

    def read(self, name: str) -> bytes:
        """Download the object."""
        with as_run_error("read", f"{self.place}/{name}", pass_missing=True):
            with self._filesystem.open_input_stream(f"{self._base}/{name}") as stream:
                return bytes(stream.read())

    def names(self, folder: str) -> list[str]:
        """List the prefix."""
        found = self._list(f"{self._base}/{folder}")
        return sorted(entry.base_name for entry in found if entry.type == pyarrow.fs.FileType.File)

    def entries(self) -> list[str]:
        """List the prefix, objects and what looks like folders."""
        return sorted(entry.base_name for entry in self._list(self._base) if entry.base_name[:1] != ".")

    def _list(self, prefix: str) -> list[pyarrow.fs.FileInfo]:
        selector = pyarrow.fs.FileSelector(prefix, allow_not_found=True)
        with as_run_error("list", self.place):
            return list(self._filesystem.get_file_info(selector))

    def remove(self, name: str) -> None:
        """Delete the object."""
        with as_run_error("remove", f"{self.place}/{name}"), suppress(FileNotFoundError):
            self._filesystem.delete_file(f"{self._base}/{name}")

    def part_name(self, stem: str) -> str:
        """Unique: an attempt never overwrites what a commit names."""
        return f"part-{stem}-{uuid.uuid4().hex[:8]}.parquet"

    def append_commit(self, record: dict[str, object], stem: str) -> None:
        """Write the commit's own object."""
        self.write(f"commits/{stem}.json", json.dumps(record).encode())

    def commits(self) -> list[dict[str, object]]:
        """Read every commit object."""
        records = (json_or_none(self.read(f"commits/{name}")) for name in self.names("commits"))
        return [record for record in records if record is not None]

    def retain_commits(self, records: list[dict[str, object]]) -> None:
        """Delete the commits that are not to stand."""
        stand = {f"{record['stem']}.json" for record in records}
        for name in self.names("commits"):
            if name not in stand:
                self.remove(f"commits/{name}")

    def settle(self) -> None:
        """Nothing: an upload that ended is kept."""

    def remove_unfinished(self) -> None:
        """Nothing: an unfinished upload is invisible, and the store expires it."""


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
        """Remove a file, if it is there; raises RunError."""

    def part_name(self, stem: str) -> str:
        """The name for a new part file: on an object store no two attempts share one."""

    def append_commit(self, record: dict[str, object], stem: str) -> None:
        """Make a commit visible; after this call it stands."""

    def commits(self) -> list[dict[str, object]]:
        """Every commit that stands, oldest first."""

    def retain_commits(self, records: list[dict[str, object]]) -> None:
        """Replace the commits by those of them that are to stand."""

    def settle(self) -> None:
        """Return when everything written so far, label files included, survives a power cut; raises RunError."""

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
