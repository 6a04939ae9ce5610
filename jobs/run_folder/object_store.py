"""The files of a run under a prefix of an object store: nothing is renamed or appended to."""

from __future__ import annotations

import json
import uuid

import pyarrow as pa
import pyarrow.fs

from jobs.run_folder.store_errors import as_run_error, json_or_none


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
        with as_run_error("remove", f"{self.place}/{name}"):
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

    def remove_unfinished(self) -> None:
        """Nothing: an unfinished upload is invisible, and the store expires it."""
