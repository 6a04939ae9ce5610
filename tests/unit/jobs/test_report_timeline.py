"""The timeline: every moment is counted once, gaps stay blank, long pauses are cut and told."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.report.timeline import MOST_CARDS, covered_ms, draw_throughput, draw_timeline, time_axis
from jobs.run.image_columns import ImageColumns


def images_of(
    rows: list[tuple[int, float, float]], cards: int = 1, failed: tuple[int, ...] = ()
) -> ImageColumns:
    """Images of (card, started, finished) rows, ms."""
    count = len(rows)
    ok = np.ones(count, np.bool_)
    ok[list(failed)] = False
    return ImageColumns(
        index=np.arange(count),
        ok=ok,
        card=np.array([card for card, _, _ in rows], np.int32),
        cards=tuple(f"host/{card}" for card in range(cards)),
        stages={"inference": np.array([(end - start) / 2 for _, start, end in rows])},
        started_ms=np.array([start for _, start, _ in rows], np.float64),
        finished_ms=np.array([end for _, _, end in rows], np.float64),
    )


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 100)), min_size=1, max_size=30),
    st.integers(1, 50),
)
def test_coverage_agrees_with_counting_milliseconds(rows: list[tuple[int, int]], bins: int) -> None:
    busy = np.zeros(1000, np.bool_)
    for start, length in rows:
        busy[start : start + length] = True
    change = np.flatnonzero(np.diff(np.concatenate([[0], busy.astype(np.int8), [0]])))
    edges = np.linspace(0, 1000, bins + 1)
    ms = np.flatnonzero(busy)
    counted = [
        float(np.clip(np.minimum(high, ms + 1) - np.maximum(low, ms), 0, None).sum())
        for low, high in pairwise(edges.tolist())
    ]
    assert covered_ms(change.reshape(-1, 2).astype(np.float64), edges) == pytest.approx(counted)


def test_nothing_is_covered_without_an_image() -> None:
    assert covered_ms(np.zeros((0, 2)), np.array([0.0, 5, 10])).tolist() == [0, 0]


def test_a_gap_is_blank_and_busy_time_is_dark() -> None:
    timeline = draw_timeline(images_of([(0, 0, 400), (0, 600, 1000)]))
    assert timeline is not None
    [row] = timeline.rows
    assert row.tones[-1] == "M0 0H400V10H0zM600 0H1000V10H600z"
    assert row.tones[:-1] == ("", "", "")
    assert "2 images" in row.caption
    assert "50" in row.caption  # the device was at work for half of it


def test_a_moment_that_is_partly_busy_is_paler() -> None:
    # A screen has 600 columns: 0.2 ms of the first one's 1 ms are busy.
    timeline = draw_timeline(images_of([(0, 0, 0.2), (0, 300, 600)]))
    assert timeline is not None
    assert timeline.rows[0].tones == ("M0 0H2V10H0z", "", "", "M500 0H1000V10H500z")


def test_failed_images_are_marked_on_their_card() -> None:
    timeline = draw_timeline(images_of([(0, 0, 500), (1, 0, 1000)], cards=2, failed=(0,)))
    assert timeline is not None
    assert [row.failed for row in timeline.rows] == ["M500 0V10", ""]


def test_images_that_got_to_no_card_are_left_out() -> None:
    lost = images_of([(0, 0, 100), (-1, np.nan, np.nan)])
    timeline = draw_timeline(lost)
    assert timeline is not None
    assert "1 image," in timeline.rows[0].caption
    assert draw_timeline(lost.only(lost.card < 0)) is None


def test_more_cards_than_fit_are_said_to_be_left_out() -> None:
    cards = MOST_CARDS + 3
    timeline = draw_timeline(images_of([(card, card, card + 10.0) for card in range(cards)], cards=cards))
    assert timeline is not None
    assert len(timeline.rows) == MOST_CARDS
    assert timeline.left_out == 3


def test_a_long_pause_of_all_cards_is_cut_and_told() -> None:
    axis = time_axis(np.array([[0, 1000.0], [3_601_000, 3_602_000]]))
    assert [pause.label for pause in axis.pauses] == ["1\N{NARROW NO-BREAK SPACE}h"]
    assert axis.place(np.array([0, 1000.0, 3_601_000, 3_602_000])) == pytest.approx([0, 0.485, 0.515, 1])


def test_a_short_gap_is_not_cut() -> None:
    assert time_axis(np.array([[0, 1000.0], [1200, 2000]])).pauses == ()


spans_strategy = st.lists(st.floats(0.001, 1e7), min_size=2, max_size=12).map(
    lambda lengths: np.cumsum(lengths)[: len(lengths) // 2 * 2].reshape(-1, 2)
)


@given(spans_strategy)
def test_the_axis_is_monotone_and_its_inverse_finds_the_times_again(
    spans: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> None:
    axis = time_axis(spans)
    assert (np.diff(axis.at) > 0).all()
    assert [axis.at[0], axis.at[-1]] == pytest.approx([0, 1])
    assert axis.time(axis.place(spans.reshape(-1))) == pytest.approx(spans.reshape(-1), rel=1e-6, abs=1e-3)
    assert all(0 <= tick.at <= 1 for tick in axis.ticks)
    assert len(axis.ticks) <= 13


def test_throughput_counts_every_image_once() -> None:
    rows = [(0, 10.0 * number, 10.0 * number + 10) for number in range(200)]
    images = images_of(rows)
    timeline = draw_timeline(images)
    assert timeline is not None
    chart = draw_throughput(images, timeline.axis, 100.0)
    assert chart.note.startswith("200 images")
    assert "100 on average" in chart.note
    # Evenly finished images make an even area: all columns within one image of each other.
    heights = {int(part.split("H")[0]) for part in chart.shapes[0].path.split("V")[1:-1]}
    assert max(heights) - min(heights) <= 120


@pytest.mark.parametrize(
    ("start_s", "length_s", "labels"),
    [
        (0, 6, ["0 s", "1 s", "2 s", "3 s", "4 s", "5 s", "6 s"]),
        (0, 600, ["0 min", "2 min", "4 min", "6 min", "8 min", "10 min"]),
        (0, 36000, ["0 h", "2 h", "4 h", "6 h", "8 h", "10 h"]),
        (4000, 4, ["1:06:40", "1:06:41", "1:06:42", "1:06:43", "1:06:44"]),
        (4000, 600, ["1:08", "1:10", "1:12", "1:14", "1:16"]),
    ],
)
def test_ticks_tell_time_in_the_unit_that_fits(start_s: float, length_s: float, labels: list[str]) -> None:
    axis = time_axis(np.array([[start_s * 1000.0, (start_s + length_s) * 1000.0]]))
    assert [tick.label for tick in axis.ticks] == labels
