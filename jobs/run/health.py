"""G: samples of the cards' health → health.parquet, and back."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from bmodel.errors import RunError
from cluster.cards.card_slots import CardSlot
from cluster.health.card_health import Sample
from cluster.health.health_watch import HealthWatch
from jobs.run.folder import RunFolder
from jobs.run.parquet import parquet_bytes
from jobs.run.store import RunStore
from tpu_worker.devices import CARD_DEVICES

HEALTH = "health.parquet"
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
    watch = HealthWatch(hosts.ask, tell=tell, end=hosts.close)
    try:
        with watch:
            yield
    finally:
        try:
            write_health(run.store, watch.samples, run_started_s=run.record.started_s)
        except RunError as error:  # what the run found does not hang on it
            tell(f"the cards' health is lost: {error}")


def write_health(store: RunStore, samples: Iterable[tuple[str, Sample]], *, run_started_s: float) -> None:
    """Add samples to those of a run's earlier parts; without any, no file is made."""
    rows = [_row(card, sample, run_started_s) for card, sample in samples]
    if rows:
        tables = [pa.Table.from_pylist(rows, schema=SCHEMA)]
        if (before := read_health(store)) is not None:
            tables.insert(0, before)
        store.write(HEALTH, parquet_bytes(pa.concat_tables(tables)).data)


def read_health(store: RunStore) -> pa.Table | None:
    """A run's samples; None without any, and for a file that is none of ours."""
    if HEALTH not in store.names(""):
        return None
    try:
        table = pq.read_table(io.BytesIO(store.read(HEALTH)))
    except (pa.ArrowException, RunError):  # a run's figures do not hang on it
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
