"""What is to be said of a run's cards: one that was too hot, shared, told nothing, failed or was quarantined."""

from __future__ import annotations

from cluster.health import FAULTY_CELSIUS, SLOWED_CELSIUS
from jobs.card_health import CardHealthMetrics
from jobs.metrics import CardMetrics, Metrics
from jobs.report.format import count, plural

MOST_NOTES = 8


def card_notes(metrics: Metrics) -> tuple[str, ...]:
    """A sentence a card and trouble, the worst first; none where all was well."""
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
    hottest = f"{card.chip_celsius_max} °C"
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
        note = f"Card {card.card} told nothing of its state, asked {plural(card.samples, 'time')}."
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
