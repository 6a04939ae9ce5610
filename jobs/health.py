"""H: samples of the cards' health → health.parquet, and their summary for metrics.json."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from bmodel.errors import RunError
from cluster.cards import CardSlot
from cluster.health import FAULTY_CELSIUS, SLOWED_CELSIUS, Sample
from cluster.health_watch import HealthWatch
from jobs.run_folder.folder import RunFolder
from jobs.run_folder.store import RunStore
from jobs.write_parquet import parquet_bytes
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


class CardHealthMetrics(BaseModel):
    """A card's health over the run; figures are null when it never told any.

    state: the worst it was in. slowed: so hot that the driver lowers the clock; silent: it told nothing at all.
    """

    model_config = ConfigDict(frozen=True)

    card: str
    state: Literal["ok", "slowed", "faulty", "silent"]
    samples: int
    unanswered: int = Field(description="samples at which the card did not tell its state")
    slowed_samples: int = Field(description=f"samples at {SLOWED_CELSIUS} °C or more")
    chip_celsius_max: int | None
    chip_celsius_mean: float | None
    board_celsius_max: int | None
    memory_used_mb_max: int | None
    utilisation_percent_mean: float | None


@contextmanager
def sampled_health(
    run: RunFolder, used: Callable[[], Iterable[CardSlot]], tell: Callable[[str], None]
) -> Iterator[None]:
    """Sample the health of a run's real cards beside the work of a `with` block; nothing for virtual ones.

    used: the cards in use at present. tell: takes a sentence for the user, from another thread too.
    """
    from cluster.health_hosts import HealthHosts

    if run.facts["device"] not in CARD_DEVICES:
        yield
        return
    hosts = HealthHosts(used)
    watch = HealthWatch(hosts.ask, tell=tell, end=hosts.close)
    try:
        with watch:
            yield
    finally:
        try:
            write_health(run.store, watch.samples, run_started_s=run.facts["started_s"])
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


def summarise_health(store: RunStore) -> tuple[CardHealthMetrics, ...] | None:
    """What the run's samples say of each card, in the cards' order; None without samples."""
    table = read_health(store)
    if table is None:
        return None
    columns = table.to_pydict()
    places: dict[str, list[int]] = {}
    for place, card in enumerate(columns["card"]):
        places.setdefault(card, []).append(place)
    return tuple(
        _summary(card, {name: [values[place] for place in places[card]] for name, values in columns.items()})
        for card in sorted(places)
    )


def _row(card: str, sample: Sample, run_started_s: float) -> dict[str, object]:
    health = sample.health
    return {
        "card": card,
        "sampled_ms": (sample.time_s - run_started_s) * 1000,
        "chip_temperature_c": health.chip_celsius if health else None,
        "board_temperature_c": health.board_celsius if health else None,
        "memory_used_mb": health.memory_used_mb if health else None,
        "utilisation_percent": health.utilisation_percent if health else None,
        "error": None if health else sample.error,
    }


def _summary(card: str, columns: dict[str, list[object]]) -> CardHealthMetrics:
    chip, board, memory, busy = (
        _known(columns[name])
        for name in ("chip_temperature_c", "board_temperature_c", "memory_used_mb", "utilisation_percent")
    )
    total = len(columns["card"])
    return CardHealthMetrics(
        card=card,
        state=_state(chip),
        samples=total,
        unanswered=total - len(chip),
        slowed_samples=sum(celsius >= SLOWED_CELSIUS for celsius in chip),
        chip_celsius_max=max(chip, default=None),
        chip_celsius_mean=_mean(chip),
        board_celsius_max=max(board, default=None),
        memory_used_mb_max=max(memory, default=None),
        utilisation_percent_mean=_mean(busy),
    )


def _state(chip_celsius: Sequence[int]) -> Literal["ok", "slowed", "faulty", "silent"]:
    if not chip_celsius:
        return "silent"
    if max(chip_celsius) > FAULTY_CELSIUS:
        return "faulty"
    return "slowed" if max(chip_celsius) >= SLOWED_CELSIUS else "ok"


def _known(values: Sequence[object]) -> list[int]:
    return [value for value in values if isinstance(value, int)]


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None
