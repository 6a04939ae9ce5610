"""A run's folder: run.json, the commits, and what is derived from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bmodel.errors import ConfigurationError, RunError
from jobs.run.commit import CommitLog
from jobs.run.lock import LOCK
from jobs.run.record import check_same
from jobs.run.store import RunStore, open_store

RUN_SCHEMA_VERSION = 1
RUN = "run.json"
SUCCESS = "_SUCCESS"
NEEDED_FACTS: dict[str, type | tuple[type, ...]] = {
    "started_s": (int, float),
    "image_count": int,
    "fingerprint": dict,
    "configuration": dict,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFolder:
    """An open run: its store, its commit log, and run.json as it was when the run was opened."""

    store: RunStore
    log: CommitLog
    facts: dict[str, Any]

    @property
    def image_count(self) -> int:
        """Images of the run, committed or not."""
        return int(self.facts["image_count"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of class_id."""
        return tuple(self.facts["fingerprint"]["class-names"])

    def write_facts(self, **changes: Any) -> None:
        """Update run.json."""
        self.facts.update(changes)
        self.store.write(RUN, (json.dumps(self.facts, indent=2, ensure_ascii=False) + "\n").encode())


def check_folder(store: RunStore, *, resume: bool) -> None:
    """Raise ConfigurationError unless the folder may hold this run: before anything is written into it."""
    if _facts_or_none(store) is None:
        _refuse_foreign_files(store)
    elif not resume:
        raise ConfigurationError(
            f"--output: '{store.place}' holds a run already; add --resume to go on with it"
        )


def begin_run(store: RunStore, *, resume: bool, facts: dict[str, Any]) -> RunFolder:
    """Start a run in its folder, or go on with the one that is there.

    facts: run.json's content but for the schema version; its shard size gives way to that of a resumed run.
    Raises ConfigurationError when the folder holds a run and `resume` is not set, RunError when the run there was
    started with other options.
    """
    check_folder(store, resume=resume)
    before = _facts_or_none(store)
    if before is None:
        run = RunFolder(
            store=store, log=CommitLog(store), facts={"schema_version": RUN_SCHEMA_VERSION, **facts}
        )
        run.write_facts()
        return run
    check_same(before["fingerprint"], facts["fingerprint"], store.place)
    if SUCCESS in store.names(""):
        store.remove(SUCCESS)
    store.remove_unfinished()
    log = CommitLog(store)
    log.drop_damaged()
    run = RunFolder(store=store, log=log, facts=before)
    run.write_facts(configuration=facts["configuration"], resumed=int(before.get("resumed", 0)) + 1)
    return run


def open_run(place: str) -> RunFolder:
    """Open an existing run to read it.

    Raises ConfigurationError when there is none, RunError when it was finished and lacks some of its images now.
    """
    if "://" not in place and not Path(place).is_dir():
        raise ConfigurationError(f"RUN: must be the folder of a run, and '{place}' is not there")
    store = open_store(place)
    facts = _facts_or_none(store)
    if facts is None:
        raise ConfigurationError(f"RUN: '{place}' holds no {RUN}, so it is not the folder of a run")
    run = RunFolder(store=store, log=CommitLog(store), facts=facts)
    if SUCCESS in store.names(""):
        _check_still_complete(run)
    return run


def _check_still_complete(run: RunFolder) -> None:
    """A record that was damaged after the run's end is void, and nobody who reads the run would miss its images."""
    try:
        run.log.verify_coverage(run.image_count)
    except RunError as error:
        raise RunError(f"{error}; `raysail detect --resume` does again what is lost") from None


def _facts_or_none(store: RunStore) -> dict[str, Any] | None:
    try:
        data = store.read(RUN)
    except FileNotFoundError:
        return None
    try:
        facts = json.loads(data)
        version = facts["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise RunError(
            f"'{store.place}/{RUN}' is damaged: it must be a JSON object with schema_version"
        ) from None
    if version != RUN_SCHEMA_VERSION:
        raise RunError(f"schema_version must be {RUN_SCHEMA_VERSION}, got {version} in '{store.place}/{RUN}'")
    for name, kind in NEEDED_FACTS.items():
        if not isinstance(facts.get(name), kind):
            raise RunError(f"'{store.place}/{RUN}' is damaged: {name} is missing or of the wrong kind")
    return dict(facts)


def _refuse_foreign_files(store: RunStore) -> None:
    """A run writes into a folder of its own: what else lies there would be mixed with it, or overwritten."""
    foreign = [name for name in store.entries() if name != LOCK]
    if foreign:
        raise ConfigurationError(
            f"--output: '{store.place}' must be empty or a run, and it holds '{foreign[0]}'"
        )


def finish_run(run: RunFolder) -> None:
    """Mark a run as complete; its coverage must have been verified."""
    run.store.write(SUCCESS, b"")
