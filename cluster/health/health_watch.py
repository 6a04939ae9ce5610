"""Samples the cards' health beside a run, and reports once per card what is wrong with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from cluster.health.card_health import FAULTY_CELSIUS, Sample, overheating_problem

SAMPLE_EVERY_S = 5.0
END_WITHIN_S = 5.0
SILENCES_UNTIL_TOLD = 3

Named = tuple[str, Sample]


class HealthWatch:
    """Queries in a thread for the length of a `with` block.

    ask: returns the samples that have come in, each with its card; it may raise anything, and then the run goes on
    without samples. keep: takes them, oldest first. tell: takes a sentence for the user. end: called when all is over. All
    four are called from the watch's thread.
    """

    def __init__(
        self,
        ask: Callable[[], list[Named]],
        *,
        keep: Callable[[Sequence[Named]], None],
        tell: Callable[[str], None],
        end: Callable[[], None] = lambda: None,
        every_s: float = SAMPLE_EVERY_S,
    ) -> None:
        self._ask = ask
        self._keep = keep
        self._end = end
        self._tell = tell
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="card health", daemon=True)
        self._silences: dict[str, int] = {}
        self._told: set[tuple[str, str]] = set()

    def __enter__(self) -> HealthWatch:  # noqa: PYI034 - Self is not in Python 3.10
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=END_WITHIN_S)

    def _watch(self) -> None:
        try:
            while not self._stop.is_set():
                samples = self._ask()
                self._keep(samples)
                for card, sample in samples:
                    self._judge(card, sample)
                self._stop.wait(self._every_s)
            self._end()
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must not suffer from it
            if not self._stop.is_set():
                self._tell(f"the cards' health is no longer sampled: {_first_line(error)}")

    def _judge(self, card: str, sample: Sample) -> None:
        if sample.health is None:
            self._silences[card] = self._silences.get(card, 0) + 1
            if self._silences[card] >= SILENCES_UNTIL_TOLD:
                self._tell_once(card, "silent", f"card {card} does not report its state: {sample.error}")
            return
        self._silences[card] = 0
        celsius = sample.health.chip_temperature_c
        if problem := overheating_problem(celsius):
            level = "faulty" if celsius > FAULTY_CELSIUS else "slowed"
            self._tell_once(card, level, f"card {card} is too hot: {problem}")

    def _tell_once(self, card: str, what: str, sentence: str) -> None:
        if (card, what) not in self._told:
            self._told.add((card, what))
            self._tell(sentence)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no details'}"
