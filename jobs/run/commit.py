"""G: a shard's tables → two Parquet files and one commit record, exactly once.

A shard counts when its record is there; the record is made after both files are, and each is on the disk when the
call that makes it returns, so a power cut takes no commit back. What dies before that leaves files
that nobody counts and the next attempt replaces. One driver owns a run (jobs/run/lock.py), so the first commit of a
range wins by order, and a later one is dropped.
"""

from __future__ import annotations

import hashlib
import queue
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import pyarrow as pa

from bmodel.errors import RunError
from cluster.pool.results import DETECTIONS_SCHEMA, IMAGES_SCHEMA, ShardResult
from cluster.pool.work import Shard
from jobs.run.parquet import parquet_bytes, row_count, table_of
from jobs.run.store import RunStore

PART_FILE = re.compile(r"part-(?P<stem>\d+-\d+)(-[0-9a-f]+)?\.parquet")
REPAIR = "`raysail detect --resume` detects its images again"
FOLDERS = {"images": IMAGES_SCHEMA, "detections": DETECTIONS_SCHEMA}


@dataclass(frozen=True, kw_only=True, slots=True)
class PartFile:
    """A committed Parquet file: its name in its folder, rows, SHA-256."""

    file: str
    rows: int
    sha256: str

    def __post_init__(self) -> None:
        # A record is read from a file: no name in it may lead out of the run's folder.
        if not PART_FILE.fullmatch(self.file):
            raise ValueError(f"file must be the name of a part file, got '{self.file}'")


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """One committed shard, or part of one; its range, its files' names and its rows must tell of the same images."""

    shard: Shard
    attempt: int
    parts: dict[str, PartFile]

    def __post_init__(self) -> None:
        # Coverage is counted by ranges alone: a record that says 18 for 10 would lose eight images without a trace.
        for part in self.parts.values():
            found = PART_FILE.fullmatch(part.file)
            if found is None or found["stem"] != self.shard.shard_id:
                raise ValueError(f"file must be named after {self.shard.shard_id}, got '{part.file}'")
        if self.parts["images"].rows != len(self.shard):
            raise ValueError(
                f"images must have {len(self.shard)} rows, as many as the shard, got {self.parts['images'].rows}"
            )

    def record(self) -> dict[str, object]:
        """The line of commits.jsonl."""
        parts = {
            folder: {"file": part.file, "rows": part.rows, "sha256": part.sha256}
            for folder, part in self.parts.items()
        }
        return {
            "stem": self.shard.shard_id,
            "start": self.shard.start,
            "stop": self.shard.stop,
            "attempt": self.attempt,
            **parts,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any], place: str) -> Commit:
        """Read a record back; raises RunError when a field is missing, of the wrong kind, or at odds with another."""
        try:
            commit = cls(
                shard=Shard(int(record["start"]), int(record["stop"])),
                attempt=int(record["attempt"]),
                parts={
                    folder: PartFile(
                        file=str(record[folder]["file"]),
                        rows=int(record[folder]["rows"]),
                        sha256=str(record[folder]["sha256"]),
                    )
                    for folder in FOLDERS
                },
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise RunError(f"a commit record is damaged ({error!r}) in '{place}': {record}") from None
        if record.get("stem") != commit.shard.shard_id:
            raise RunError(
                f"a commit record is damaged (stem must be {commit.shard.shard_id}) in '{place}': {record}"
            )
        return commit


class CommitLog:
    """The commits of one run."""

    def __init__(self, store: RunStore) -> None:
        """Take the commits that stand into account, without reading their files.

        A damaged record is no commit; `voided` gets a sentence for each.
        """
        self._store = store
        self._commits: dict[Shard, Commit] = {}
        self.voided: list[str] = []
        for record in store.commits():
            try:
                commit = Commit.from_record(record, store.place)
            except RunError as error:
                self.voided.append(f"{error}: its images are done again")
            else:
                self._commits[commit.shard] = commit

    @property
    def commits(self) -> list[Commit]:
        """Every commit, in the order of the images."""
        return [self._commits[shard] for shard in sorted(self._commits)]

    @property
    def image_count(self) -> int:
        """Images committed so far."""
        return sum(len(shard) for shard in self._commits)

    def add(self, shard: Shard, result: ShardResult, attempt: int) -> Commit | None:
        """Commit a shard's rows; None when it was committed before. Raises RunError when they are not its rows."""
        if shard in self._commits:
            return None
        indexes = result.images.column("index").to_pylist()
        if indexes != list(range(shard.start, shard.stop)):
            raise RunError(
                f"a worker's rows must be images {shard.start} to {shard.stop - 1} in order, got {indexes}"
            )
        parts = {}
        for folder, table in (("images", result.images), ("detections", result.detections)):
            encoded = parquet_bytes(table)
            file = self._store.part_name(shard.shard_id)
            self._store.write(f"{folder}/{file}", encoded.data)
            parts[folder] = PartFile(file=file, rows=encoded.rows, sha256=encoded.sha256)
        commit = Commit(shard=shard, attempt=attempt, parts=parts)
        self._store.append_commit(commit.record(), shard.shard_id)
        self._commits[shard] = commit
        return commit

    def drop_damaged(self) -> None:
        """Void every commit whose record is damaged, or whose files are missing or differ from its record.

        `voided` gets a sentence for each.

        Also removes part files that no commit names: a driver was killed between file and record.
        """
        void: dict[Shard, str] = {}
        for shard, commit in self._commits.items():
            if reason := self._damage(commit):
                void[shard] = f"{reason}: its {len(shard)} images are done again"
        for shard in void:
            del self._commits[shard]
        if void or self.voided:
            self._store.retain_commits([commit.record() for commit in self.commits])
        self._remove_orphans()
        self.voided += [void[shard] for shard in sorted(void)]

    def _damage(self, commit: Commit) -> str | None:
        for folder, part in commit.parts.items():
            try:
                data = self._store.read(f"{folder}/{part.file}")
            except FileNotFoundError:
                return f"{folder}/{part.file} is missing"
            if hashlib.sha256(data).hexdigest() != part.sha256:
                return f"{folder}/{part.file} is damaged"
            if (rows := row_count(data)) != part.rows:
                return f"{folder}/{part.file} has {rows} rows and its record says {part.rows}"
        return None

    def _remove_orphans(self) -> None:
        for folder in FOLDERS:
            named = {commit.parts[folder].file for commit in self._commits.values()}
            for name in self._store.names(folder):
                if name not in named and PART_FILE.fullmatch(name):
                    self._store.remove(f"{folder}/{name}")

    def verify_coverage(self, image_count: int) -> None:
        """Raise RunError unless the commits cover every image once and every file they name is visible."""
        expected = 0
        for commit in self.commits:
            if commit.shard.start != expected:
                raise RunError(
                    f"image {min(expected, commit.shard.start)} must be committed once in '{self._store.place}'"
                )
            expected = commit.shard.stop
        if expected != image_count:
            raise RunError(f"{image_count} images must be committed, got {expected} in '{self._store.place}'")
        for folder in FOLDERS:
            missing = {commit.parts[folder].file for commit in self.commits} - set(self._store.names(folder))
            if missing:
                raise RunError(
                    f"{len(missing)} committed files are not visible in '{self._store.place}/{folder}', "
                    f"the first is '{min(missing)}'"
                )

    def tables(self, folder: str) -> Iterator[pa.Table]:
        """The committed tables of 'images' or 'detections' one after another, in the order of the images.

        Raises RunError when a part file is missing or not the one that was committed.
        """
        for commit in self.commits:
            yield self._table(folder, commit.parts[folder])

    def _table(self, folder: str, part: PartFile) -> pa.Table:
        place = f"{self._store.place}/{folder}/{part.file}"
        try:
            data = self._store.read(f"{folder}/{part.file}")
        except FileNotFoundError:
            raise RunError(f"'{place}' is committed and missing; {REPAIR}") from None
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise RunError(
                f"'{place}' is damaged: its SHA-256 must be the one in its commit record; {REPAIR}"
            )
        try:
            return table_of(data, FOLDERS[folder])
        except pa.ArrowException as error:
            raise RunError(f"'{place}' is damaged: {error}") from None


QUEUE_LENGTH = 32


class Committer:
    """Takes results in any order; `put` blocks while the disk is behind. An error is raised by the next call."""

    def __init__(self, log: CommitLog) -> None:
        self._log = log
        self._queue: queue.Queue[tuple[Shard, ShardResult, int] | None] = queue.Queue(QUEUE_LENGTH)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="committer", daemon=True)

    def __enter__(self) -> Committer:  # noqa: PYI034 - Self is not in Python 3.10
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit what is queued, whatever ended the block."""
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self._raise_error()

    def put(self, shard: Shard, result: ShardResult, attempt: int) -> None:
        """Queue a shard's rows."""
        self._raise_error()
        self._queue.put((shard, result, attempt))

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is not None:
                continue  # drain, so that `put` never blocks for ever
            try:
                self._log.add(*item)
            except Exception as error:  # noqa: BLE001 - handed to the job's thread
                self._error = error
