"""H: a run's samples of its cards' health → their summary for metrics.json."""

from __future__ import annotations

from typing import Any, Literal

import pyarrow.compute as pc
from pydantic import Field

from bmodel.validation import FrozenModel
from cluster.health.card_health import FAULTY_CELSIUS, SLOWED_CELSIUS
from jobs.run.health import read_health
from jobs.run.store import RunStore


class CardHealthMetrics(FrozenModel):
    """A card's health over the run; figures are null when it never reported any.

    state: the worst it was in. slowed: so hot that the driver lowers the clock; silent: it reported nothing at all.
    """

    card: str
    state: Literal["ok", "slowed", "faulty", "silent"]
    samples: int
    unanswered: int = Field(description="samples at which the card did not report its state")
    slowed_samples: int = Field(description=f"samples at {SLOWED_CELSIUS} °C or more")
    chip_temperature_c_max: int | None
    chip_temperature_c_mean: float | None
    board_temperature_c_max: int | None
    memory_used_mb_max: int | None
    utilisation_percent_mean: float | None


def summarise_health(store: RunStore) -> tuple[CardHealthMetrics, ...] | None:
    """What the run's samples say of each card, in the cards' order; None without samples."""
    table = read_health(store)
    if table is None:
        return None
    hot = pc.greater_equal(table.column("chip_temperature_c"), SLOWED_CELSIUS)
    by_card = table.append_column("is_slowed", hot).group_by("card").aggregate(_FIGURES).sort_by("card")
    return tuple(_summary(row) for row in by_card.to_pylist())


_FIGURES = [
    ("sampled_ms", "count"),
    ("chip_temperature_c", "count"),
    ("chip_temperature_c", "max"),
    ("chip_temperature_c", "mean"),
    ("is_slowed", "sum"),
    ("board_temperature_c", "max"),
    ("memory_used_mb", "max"),
    ("utilisation_percent", "mean"),
]


def _summary(row: dict[str, Any]) -> CardHealthMetrics:
    """row: the aggregates of a card's samples; None where no sample has the value."""
    return CardHealthMetrics(
        card=row["card"],
        state=_state(row["chip_temperature_c_max"]),
        samples=row["sampled_ms_count"],
        unanswered=row["sampled_ms_count"] - row["chip_temperature_c_count"],
        slowed_samples=row["is_slowed_sum"] or 0,
        chip_temperature_c_max=row["chip_temperature_c_max"],
        chip_temperature_c_mean=row["chip_temperature_c_mean"],
        board_temperature_c_max=row["board_temperature_c_max"],
        memory_used_mb_max=row["memory_used_mb_max"],
        utilisation_percent_mean=row["utilisation_percent_mean"],
    )


def _state(hottest_celsius: int | None) -> Literal["ok", "slowed", "faulty", "silent"]:
    if hottest_celsius is None:
        return "silent"
    if hottest_celsius > FAULTY_CELSIUS:
        return "faulty"
    return "slowed" if hottest_celsius >= SLOWED_CELSIUS else "ok"
