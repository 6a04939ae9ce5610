"""When each card had images under way, and how many were finished: the columns of a run → timeline and throughput.

Ten images or ten million make the same picture: times are gathered into the columns of a screen, and a column's
tone says for how much of it the card had an image under way. Long pauses of all cards (a run that was resumed) are
cut short, and the cut is marked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.measure.latency import Timings, busy_spans
from jobs.report.charts import BOX, Chart, Mark, Shape, Tick, step_area, ticks
from jobs.report.format import count, decimal, duration, percent, plural
from jobs.run.image_columns import ImageColumns

MOST_CARDS = 48
TONES = 4
# A pause of all cards is cut when it is longer than this share of all the time in which they worked.
CUT_SHARE = 1.0
CUT_WIDTH = 0.03
Times = NDArray[np.float64]
# Steps of a time axis, s, and the unit each is shown in.
_STEPS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800,
            21600, 43200, 86400)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """A cut: the middle of it as a fraction of the axis, and how long it really was."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeAxis:
    """Maps ms since the run began to fractions of the width, piece by piece: time_ms[i] → at[i]."""

    time_ms: Times
    at: Times
    ticks: tuple[Tick, ...]
    pauses: tuple[Pause, ...]

    def place(self, time_ms: Times) -> Times:
        """Where times lie."""
        return np.interp(time_ms, self.time_ms, self.at)

    def time(self, at: Times) -> Times:
        """Which times lie there."""
        return np.interp(at, self.at, self.time_ms)


@dataclass(frozen=True, kw_only=True, slots=True)
class CardRow:
    """One card's line: its name, what it did in words, one path per tone (palest first), ticks of failed images."""

    card: str
    caption: str
    tones: tuple[str, ...]
    failed: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """The timeline of all cards; left_out: cards that there is no room for."""

    axis: TimeAxis
    rows: tuple[CardRow, ...]
    left_out: int
    start_up: str


def draw_timeline(images: ImageColumns) -> Timeline | None:
    """The timeline, or nothing for a run in which no image got to a card."""
    timed = images.timed()
    if not len(timed.started_ms) or timed.started_ms.min() >= timed.finished_ms.max():
        return None
    axis = time_axis(_spans(timed))
    columns = 600 if len(timed.cards) <= 12 else 300
    rows = [_card_row(timed, code, name, axis, columns) for code, name in enumerate(timed.cards[:MOST_CARDS])]
    first = float(timed.started_ms.min()) / 1000
    return Timeline(
        axis=axis,
        rows=tuple(rows),
        left_out=max(0, len(timed.cards) - MOST_CARDS),
        start_up=duration(first),
    )


def _card_row(timed: ImageColumns, code: int, name: str, axis: TimeAxis, columns: int) -> CardRow:
    mine = timed.only(timed.card == code)
    spans = _spans(mine)
    edges = axis.time(np.linspace(0, 1, columns + 1))
    covered = covered_ms(spans, edges) / np.maximum(np.diff(edges), 1e-9)
    tone = np.ceil(np.clip(covered - 1e-9, 0, 1) * TONES).astype(np.int64)
    whole_ms = float(np.diff(spans).sum())
    device_ms = float(np.nansum(mine.stages["inference"]))
    failed = mine.finished_ms[~mine.ok]
    caption = (
        f"{plural(len(mine.index), 'image')}, device at work "
        f"{percent(min(1.0, device_ms / whole_ms) if whole_ms else None)} of {duration(whole_ms / 1000)}"
    )
    return CardRow(
        card=name,
        caption=caption,
        tones=tuple(_runs(tone == level, columns) for level in range(1, TONES + 1)),
        failed="".join(f"M{at} 0V10" for at in np.unique(np.rint(axis.place(failed) * BOX).astype(np.int64))),
    )


def _runs(on: NDArray[np.bool_], columns: int) -> str:
    """A path of rectangles 10 high where `on` holds."""
    change = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]])))
    edges = (
        np.rint(
            change * BOX / columns,
        )
        .astype(np.int64)
        .reshape(-1, 2)
    )
    return "".join(f"M{left} 0H{right}V10H{left}z" for left, right in edges.tolist())


def _spans(images: ImageColumns) -> Times:
    """(M, 2) merged spans in which one of these images was under way, in order."""
    if not len(images.started_ms):
        return np.zeros((0, 2))
    return busy_spans(Timings(stages={}, started_ms=images.started_ms, finished_ms=images.finished_ms))


def covered_ms(spans: Times, edges: Times) -> Times:
    """(N,) ms of each interval between N + 1 edges that lie in the spans."""
    if not len(spans):
        return np.zeros(len(edges) - 1)
    done = np.concatenate([[0], np.cumsum(spans[:, 1] - spans[:, 0])])
    corners = spans.reshape(-1)
    at_corner = np.repeat(done, 2)[1:-1]
    return np.diff(np.interp(edges, corners, at_corner))


def time_axis(spans: Times) -> TimeAxis:
    """An axis from the first image's start to the last one's end, with long pauses of all cards cut short."""
    gaps = spans[1:, 0] - spans[:-1, 1]
    worked = float((spans[:, 1] - spans[:, 0]).sum())
    cut = np.flatnonzero(gaps > CUT_SHARE * worked)
    time_ms = np.sort(np.concatenate([[spans[0, 0], spans[-1, 1]], spans[cut, 1], spans[cut + 1, 0]]))
    lengths = np.diff(time_ms)
    is_cut = np.zeros(len(lengths), np.bool_)
    is_cut[1::2] = True
    scale = (1 - CUT_WIDTH * len(cut)) / lengths[~is_cut].sum()
    at = np.concatenate([[0], np.cumsum(np.where(is_cut, CUT_WIDTH, lengths * scale))])
    pauses = tuple(
        Pause(at=float(at[1 + 2 * place] + CUT_WIDTH / 2), label=duration(float(gaps[gap]) / 1000))
        for place, gap in enumerate(cut.tolist())
    )
    return TimeAxis(time_ms=time_ms, at=at, ticks=_time_ticks(time_ms, at, ~is_cut), pauses=pauses)


def _time_ticks(time_ms: Times, at: Times, shown: NDArray[np.bool_]) -> tuple[Tick, ...]:
    """Round times since the run began, about six of them, none inside a cut."""
    least_s = float(np.diff(time_ms)[shown].sum()) / 1000 / 6
    step_s = next(
        (step for step in _STEPS_S if step >= least_s), _STEPS_S[-1] * np.ceil(least_s / _STEPS_S[-1])
    )
    found: list[Tick] = []
    for piece in np.flatnonzero(shown).tolist():
        first, last = time_ms[piece] / 1000 / step_s, time_ms[piece + 1] / 1000 / step_s
        for number in range(int(np.ceil(first)), int(np.floor(last)) + 1):
            place = float(np.interp(number * step_s * 1000, time_ms, at))
            if not found or place - found[-1].at > 0.08:
                found.append(Tick(at=place, label=_clock(number * step_s, step_s)))
    return tuple(found)


def _clock(seconds: float, step_s: float) -> str:
    """Seconds, minutes or hours as fit the step; a time long after the start as a clock shows it."""
    if step_s >= 3600:
        return f"{seconds / 3600:g} h"
    if step_s >= 60 and seconds < 3600:
        return f"{seconds / 60:g} min"
    if seconds < 120:
        return f"{seconds:g} s"
    whole, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(whole), 60)
    clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return clock if step_s >= 60 else f"{clock}:{rest:02.0f}" if step_s >= 1 else f"{clock}:{rest:04.1f}"


def draw_throughput(images: ImageColumns, axis: TimeAxis, mean_per_s: float | None) -> Chart:
    """Images finished per second over time, on the timeline's axis."""
    timed = images.timed()
    bins = int(np.clip(np.sqrt(len(timed.finished_ms)) * 1.5, 10, 160))
    at = np.linspace(0, 1, bins + 1)
    edges_ms = axis.time(at)
    number, _ = np.histogram(timed.finished_ms, edges_ms)
    per_s = number / np.maximum(np.diff(edges_ms), 1e-9) * 1000
    high = float(per_s.max()) * 1.08 or 1.0
    marks = () if mean_per_s is None else (f"{decimal(mean_per_s)} on average while images were under way",)
    return Chart(
        title="Images per second",
        note=f"{count(int(number.sum()))} images in columns of {duration(float(np.median(np.diff(edges_ms))) / 1000)}"
        + "".join(f"; {mark}" for mark in marks),
        x_label="time since the run began",
        x_ticks=axis.ticks,
        y_ticks=ticks(0, high, most=4),
        shapes=(Shape(path=step_area(at, per_s / high), css="area"),),
        marks=tuple(Mark(x=pause.at, label=f"pause of {pause.label}") for pause in axis.pauses),
    )
