"""The files of a run in a folder: temporary names and renames, and one file of commits to append to."""

from __future__ import annotations

import errno
import json
import os
import uuid
from pathlib import Path

import pyarrow as pa

from bmodel.errors import ConfigurationError
from jobs.run_folder.store_errors import as_run_error, json_or_none

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
            raise ConfigurationError(f"--output: '{folder}' may not be read by this user")

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write under a temporary name, then rename; the few files of the folder's top are on the disk by then."""
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        with as_run_error("write", str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    if "/" not in name:
                        file.flush()
                        os.fsync(file.fileno())
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise

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
            (self.folder / name).unlink()

    def part_name(self, stem: str) -> str:
        """The stem decides: a rename replaces what an earlier attempt left."""
        return f"part-{stem}.parquet"

    def append_commit(self, record: dict[str, object], stem: str) -> None:  # noqa: ARG002 - one file holds them all
        """Append one line with one system call; half a line is taken back, or it would spoil the next one."""
        path = self.folder / COMMITS
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        with as_run_error("append to", str(path)):
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                size = os.fstat(descriptor).st_size
                if os.write(descriptor, line) != len(line):
                    os.ftruncate(descriptor, size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)

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

    def remove_unfinished(self) -> None:
        """Remove what killed drivers left half written."""
        for folder in ("images", "detections", "."):
            path = self.folder / folder
            for entry in path.glob(".*.tmp") if path.is_dir() else ():
                entry.unlink(missing_ok=True)
        self._cut_unfinished_line()

    def _cut_unfinished_line(self) -> None:
        path = self.folder / COMMITS
        if path.exists():
            with as_run_error("mend", str(path)):
                os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
