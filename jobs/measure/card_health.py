"""H: a run's samples of its cards' health → their summary for metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from bmodel.validation import FrozenModel
from cluster.health.card_health import FAULTY_CELSIUS, SLOWED_CELSIUS
from jobs.run.health import read_health
from jobs.run.store import RunStore


class CardHealthMetrics(FrozenModel):
    """A card's health over the run; figures are null when it never told any.

    state: the worst it was in. slowed: so hot that the driver lowers the clock; silent: it told nothing at all.
    """

    card: str
    state: Literal["ok", "slowed", "faulty", "silent"]
    samples: int
    unanswered: int = Field(description="samples at which the card did not tell its state")
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
    columns = table.to_pydict()
    places: dict[str, list[int]] = {}
    for place, card in enumerate(columns["card"]):
        places.setdefault(card, []).append(place)
    return tuple(
        _summary(card, {name: [values[place] for place in places[card]] for name, values in columns.items()})
        for card in sorted(places)
    )


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
        chip_temperature_c_max=max(chip, default=None),
        chip_temperature_c_mean=_mean(chip),
        board_temperature_c_max=max(board, default=None),
        memory_used_mb_max=max(memory, default=None),
        utilisation_percent_mean=_mean(busy),
    )


def _state(chip_temperature_c: Sequence[int]) -> Literal["ok", "slowed", "faulty", "silent"]:
    if not chip_temperature_c:
        return "silent"
    if max(chip_temperature_c) > FAULTY_CELSIUS:
        return "faulty"
    return "slowed" if max(chip_temperature_c) >= SLOWED_CELSIUS else "ok"


def _known(values: Sequence[object]) -> list[int]:
    return [value for value in values if isinstance(value, int)]


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None
