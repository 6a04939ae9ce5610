"""G: samples of the cards' health → the parts of health/, and back."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from bmodel.errors import RunError
from cluster.cards.card_slots import CardSlot
from cluster.health.card_health import Sample
from cluster.health.health_watch import HealthWatch, Named
from jobs.run.folder import RunFolder
from jobs.run.parquet import parquet_bytes
from jobs.run.store import RunStore
from tpu_worker.devices import CARD_DEVICES

FOLDER = "health"
OLD_FILE = "health.parquet"
_PART = re.compile(r"part-(\d+)\.parquet")
# 120 cards give 7,200 samples in five minutes, and 288 parts in a day.
FLUSH_EVERY_S = 300.0
FLUSH_AT = 20_000
SCHEMA = pa.schema(
    [
        ("card", pa.string()),
        ("sampled_ms", pa.float64()),
        ("chip_temperature_c", pa.int32()),
        ("board_temperature_c", pa.int32()),
        ("memory_used_mb", pa.int32()),
        ("utilisation_percent", pa.int32()),
        ("error", pa.string()),
    ]
)


@contextmanager
def sampled_health(
    run: RunFolder, used: Callable[[], Iterable[CardSlot]], tell: Callable[[str], None]
) -> Iterator[None]:
    """Sample the health of a run's real cards beside the work of a `with` block; nothing for virtual ones.

    used: the cards in use at present. tell: takes a sentence for the user, from another thread too.
    """
    from cluster.health.health_hosts import HealthHosts

    if run.record.device not in CARD_DEVICES:
        yield
        return
    hosts = HealthHosts(used)
    writer = HealthWriter(run.store, run_started_s=run.record.started_s, tell=tell)
    watch = HealthWatch(hosts.ask, keep=writer.add, tell=tell, end=hosts.close)
    try:
        with watch:
            yield
    finally:
        writer.flush()


class HealthWriter:
    """Writes samples into part files as they come: memory stays bounded, and a killed driver loses minutes at most.

    every_s, most: a part is written after so many seconds or samples, whichever comes first. tell: takes a sentence
    for the user when a part cannot be written; its samples are lost then, and the run goes on.
    """

    def __init__(
        self,
        store: RunStore,
        *,
        run_started_s: float,
        tell: Callable[[str], None],
        every_s: float = FLUSH_EVERY_S,
        most: int = FLUSH_AT,
    ) -> None:
        self._store = store
        self._run_started_s = run_started_s
        self._tell = tell
        self._every_s = every_s
        self._most = most
        self._lock = threading.Lock()
        self._waiting: list[Named] = []
        self._flushed_s = time.monotonic()
        self._has_told = False

    def add(self, samples: Sequence[Named]) -> None:
        """Take samples; write those that wait once they are due."""
        with self._lock:
            self._waiting += samples
            is_due = time.monotonic() - self._flushed_s >= self._every_s
        if is_due or len(self._waiting) >= self._most:
            self.flush()

    def flush(self) -> None:
        """Write what waits; never raises RunError, since no figure of the run depends on it."""
        with self._lock:
            samples, self._waiting = self._waiting, []
            self._flushed_s = time.monotonic()
            try:
                write_health(self._store, samples, run_started_s=self._run_started_s)
            except RunError as error:
                if not self._has_told:
                    self._tell(f"samples of the cards' health are lost: {error}")
                self._has_told = True


def write_health(store: RunStore, samples: Iterable[Named], *, run_started_s: float) -> None:
    """Write samples as the next part of the run's; without any, no file is made. Raises RunError."""
    rows = [_row(card, sample, run_started_s) for card, sample in samples]
    if rows:
        numbers = [int(found[1]) for name in store.names(FOLDER) if (found := _PART.fullmatch(name))]
        name = f"{FOLDER}/part-{max(numbers, default=-1) + 1:06d}.parquet"
        store.write(name, parquet_bytes(pa.Table.from_pylist(rows, schema=SCHEMA)).data)


def read_health(store: RunStore) -> pa.Table | None:
    """A run's samples with the columns of SCHEMA, oldest first; None without any.

    A part that is damaged or not ours is left out: no figure of the run depends on it. Raysail 0.1 wrote one file.
    """
    names = [f"{FOLDER}/{name}" for name in store.names(FOLDER) if _PART.fullmatch(name)]
    if OLD_FILE in store.names(""):
        names.insert(0, OLD_FILE)
    tables = [table for name in names if (table := _part(store, name)) is not None]
    return pa.concat_tables(tables) if tables else None


def _part(store: RunStore, name: str) -> pa.Table | None:
    try:
        table = pq.read_table(pa.BufferReader(store.read(name)))
    except (pa.ArrowException, OSError, RunError):
        return None
    return table if table.schema.equals(SCHEMA) else None


def _row(card: str, sample: Sample, run_started_s: float) -> dict[str, object]:
    health = sample.health
    return {
        "card": card,
        "sampled_ms": (sample.time_s - run_started_s) * 1000,
        "chip_temperature_c": health.chip_temperature_c if health else None,
        "board_temperature_c": health.board_temperature_c if health else None,
        "memory_used_mb": health.memory_used_mb if health else None,
        "utilisation_percent": health.utilisation_percent if health else None,
        "error": None if health else sample.error,
    }
