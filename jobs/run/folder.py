"""A run's folder: run.json, the commits, and what is derived from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bmodel.errors import ConfigurationError, RunError
from jobs.run.commit import CommitLog
from jobs.run.fingerprint import check_same
from jobs.run.lock import LOCK
from jobs.run.record import RunChanges, RunRecord, parse_record
from jobs.run.store import RunStore, open_store

if TYPE_CHECKING:
    from typing_extensions import Unpack

RUN = "run.json"
SUCCESS = "_SUCCESS"


@dataclass(kw_only=True, slots=True)
class RunFolder:
    """An open run: its store, its commit log, and its record, which `update` alone changes."""

    store: RunStore
    log: CommitLog
    record: RunRecord

    @property
    def image_count(self) -> int:
        """Images of the run, committed or not."""
        return self.record.image_count

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of class_id."""
        return self.record.fingerprint.class_names

    def update(self, **changes: Unpack[RunChanges]) -> None:
        """Change the record, here and in run.json."""
        self.record = self.record.updated(changes)
        self.write_record()

    def write_record(self) -> None:
        """Write run.json."""
        self.store.write(RUN, self.record.to_json())


def check_folder(store: RunStore, *, resume: bool) -> None:
    """Raise ConfigurationError unless the folder may hold this run: before anything is written into it."""
    if _record_or_none(store) is None:
        _refuse_foreign_files(store)
    elif not resume:
        raise ConfigurationError(
            f"--output: '{store.place}' holds a run already; add --resume to go on with it"
        )


def begin_run(store: RunStore, *, resume: bool, record: RunRecord) -> RunFolder:
    """Start a run in its folder, or resume the one that is there.

    record: of the run as it would begin now; a resumed run keeps its own, but for the configuration.
    Raises ConfigurationError when the folder holds a run and `resume` is not set, RunError when the run there was
    started with other options or its run.json is damaged.
    """
    check_folder(store, resume=resume)
    before = _record_or_none(store)
    if before is None:
        run = RunFolder(store=store, log=CommitLog(store), record=record)
        run.write_record()
        return run
    check_same(before.fingerprint, record.fingerprint, store.place)
    store.remove(SUCCESS)
    store.remove_unfinished()
    log = CommitLog(store)
    log.drop_damaged()
    run = RunFolder(store=store, log=log, record=before)
    run.update(configuration=record.configuration, resumed=before.resumed + 1)
    return run


def open_run(place: str) -> RunFolder:
    """Open an existing run to read it.

    Raises ConfigurationError when there is none, RunError when it was finished and lacks some of its images now.
    """
    if "://" not in place and not Path(place).is_dir():
        raise ConfigurationError(f"RUN: must be the folder of a run, and '{place}' is not there")
    store = open_store(place)
    record = _record_or_none(store)
    if record is None:
        raise ConfigurationError(f"RUN: '{place}' holds no {RUN}, so it is not the folder of a run")
    run = RunFolder(store=store, log=CommitLog(store), record=record)
    if SUCCESS in store.names(""):
        _check_still_complete(run)
    return run


def _check_still_complete(run: RunFolder) -> None:
    """A record that was damaged after the run's end is void, and nobody who reads the run would miss its images."""
    try:
        run.log.verify_coverage(run.image_count)
    except RunError as error:
        raise RunError(f"{error}; `raysail detect --resume` detects again what is lost") from None


def _record_or_none(store: RunStore) -> RunRecord | None:
    try:
        data = store.read(RUN)
    except FileNotFoundError:
        return None
    return parse_record(data, f"{store.place}/{RUN}")


def _refuse_foreign_files(store: RunStore) -> None:
    """A run writes into a folder of its own: what else lies there would be mixed with it, or overwritten."""
    foreign = [name for name in store.entries() if name != LOCK]
    if foreign:
        raise ConfigurationError(
            f"--output: '{store.place}' must be empty or a run, and it holds '{foreign[0]}'"
        )


def finish_run(run: RunFolder) -> None:
    """Mark a run as complete, once all that it claims is on the disk; its coverage must have been verified."""
    run.store.settle()
    run.store.write(SUCCESS, b"")
