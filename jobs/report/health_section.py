"""What a report says of a run's cards: one that overheated, was shared, stayed silent, failed or was quarantined."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.health.card_health import FAULTY_CELSIUS, SLOWED_CELSIUS
from jobs.measure.card_health import CardHealthMetrics
from jobs.measure.metrics import CardMetrics, Metrics
from jobs.report.charts import Chart, Shape, line, ticks
from jobs.report.format import count, decimal, plural
from jobs.run.folder import RunFolder
from jobs.run.health import read_health

MOST_NOTES = 8


def card_notes(metrics: Metrics) -> tuple[str, ...]:
    """One sentence per card and problem, the worst first; none where all was well."""
    health = [(_RANK[state], note) for state, note in map(_health_note, metrics.health or ()) if note]
    work = [(0 if card.quarantined else 2, note) for card in metrics.cards if (note := _work_note(card))]
    shared = [(2, _shared_note(card)) for card in metrics.cards if card.other_users]
    notes = [note for _, note in sorted([*health, *work, *shared], key=lambda ranked: ranked[0])]
    left_out = len(notes) - MOST_NOTES
    if left_out > 0:
        notes[MOST_NOTES:] = [
            f"{count(left_out)} more such notes are in metrics.json, under health and cards."
        ]
    return tuple(notes)


def hot_cards(metrics: Metrics) -> tuple[str, ...]:
    """The cards whose times are not their own, since they were too hot."""
    return tuple(card.card for card in metrics.health or () if card.state in {"slowed", "faulty"})


def shared_cards(metrics: Metrics) -> tuple[str, ...]:
    """The cards whose times may not be their own, since other programs used them too."""
    return tuple(card.card for card in metrics.cards if card.other_users)


_RANK = {"faulty": 0, "slowed": 1, "silent": 3, "ok": 4}


def _health_note(card: CardHealthMetrics) -> tuple[str, str]:
    hottest = f"{card.chip_temperature_c_max} °C"
    share = f"{count(card.slowed_samples)} of {plural(card.samples - card.unanswered, 'sample')}"
    if card.state == "faulty":
        note = (
            f"Card {card.card} got as hot as {hottest}: above {FAULTY_CELSIUS} °C its driver calls a card faulty. Stop it "
            f"and see to its cooling; in {share} it was slowed down, so its times are not its own."
        )
    elif card.state == "slowed":
        note = (
            f"Card {card.card} was too hot in {share}, {hottest} at most: from {SLOWED_CELSIUS} °C on the driver slows a "
            "card down, so its times are not its own. See to its cooling."
        )
    elif card.state == "silent":
        note = f"Card {card.card} reported nothing of its state, asked {plural(card.samples, 'time')}."
    else:
        note = ""
    return card.state, note


def _shared_note(card: CardMetrics) -> str:
    return (
        f"Card {card.card} was also used by {', '.join(card.other_users)} when its worker began, so its times may not be "
        "its own."
    )


def _work_note(card: CardMetrics) -> str:
    if card.quarantined:
        return (
            f"Card {card.card} was quarantined after {plural(card.failures, 'failure')} and got no more work; it had done "
            f"{plural(card.images, 'image')}."
        )
    if card.failures:
        restarts = f" and was started again {plural(card.restarts, 'time')}" if card.restarts else ""
        return (
            f"Card {card.card} failed {plural(card.failures, 'time')}{restarts}; what it lost was done again."
        )
    return ""


MOST_POINTS = 400
MOST_NAMED = 5
# Columns of health.parquet: what they are called, and their unit.
_QUANTITIES = {
    "chip_temperature_c": ("Chip temperature", "°C"),
    "board_temperature_c": ("Board temperature", "°C"),
    "memory_used_mb": ("Memory used", "MB"),
    "utilisation_percent": ("Utilisation", "%"),
}


def health_charts(run: RunFolder) -> tuple[Chart, ...]:
    """One chart per quantity sampled, one line per card; nothing without samples."""
    table = read_health(run.store)
    if table is None:
        return ()
    charts = [_chart(table.filter(pc.is_valid(table.column(name))), name) for name in _QUANTITIES]
    return tuple(chart for chart in charts if chart is not None)


def _chart(known: pa.Table, name: str) -> Chart | None:
    if not known.num_rows:
        return None
    seconds = known.column("sampled_ms").to_numpy().astype(np.float64) / 1000
    values = known.column(name).to_numpy().astype(np.float64)
    cards = np.array(known.column("card").to_pylist())
    low, high = float(min(0.0, values.min())), float(values.max()) * 1.08 or 1.0
    first, last = float(seconds.min()), float(seconds.max())
    names = sorted(set(cards.tolist()))
    shapes = []
    for position, card in enumerate(names):
        rows = np.flatnonzero(cards == card)
        rows = rows[np.argsort(seconds[rows], kind="stable")]
        rows = rows[:: max(1, len(rows) // MOST_POINTS)]
        few = len(names) <= MOST_NAMED
        shapes.append(
            Shape(
                path=line(
                    (seconds[rows] - first) / max(last - first, 1e-9), (values[rows] - low) / (high - low)
                ),
                css=f"line series-{position}" if few else "line thin",
                title=card,
                key=card if few else "",
            )
        )
    quantity, unit = _QUANTITIES[name]
    return Chart(
        title=quantity,
        note=f"{decimal(float(values.min()))} to {decimal(float(values.max()))} {unit}",
        x_label="s since the run began",
        x_ticks=ticks(first, last, most=4),
        y_ticks=ticks(low, high, most=4),
        shapes=tuple(shapes),
    )
