"""The geometry of charts: ticks are round and inside, paths go through their points, columns stand on their bases."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.report.charts import BOX, columns, line, nice_step, step_area, ticks


@pytest.mark.parametrize(
    ("low", "high", "most", "labels"),
    [
        (0, 1, 5, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 103, 4, ["0", "50", "100"]),
        (9.47, 11.7, 5, ["9.5", "10.0", "10.5", "11.0", "11.5"]),
        (
            0,
            25_000,
            5,
            [
                "0",
                "5\N{NARROW NO-BREAK SPACE}000",
                *[f"{n}\N{NARROW NO-BREAK SPACE}000" for n in (10, 15, 20, 25)],
            ],
        ),
        (7, 7, 5, ["7"]),
    ],
)
def test_ticks_are_round(low: float, high: float, most: int, labels: list[str]) -> None:
    assert [tick.label for tick in ticks(low, high, most=most)] == labels


@example(low=1.0, span=40001.0, most=2)
@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), most=st.integers(2, 8))
def test_ticks_lie_inside_and_are_neither_few_nor_many(low: float, span: float, most: int) -> None:
    found = ticks(low, low + span, most=most)
    assert 1 <= len(found) <= most + 1
    assert all(-1e-6 <= tick.at <= 1 + 1e-6 for tick in found)
    assert [tick.at for tick in found] == sorted(tick.at for tick in found)


@given(st.floats(1e-9, 1e9))
def test_a_nice_step_is_one_two_or_five_and_not_below_what_is_asked(least: float) -> None:
    step = nice_step(least)
    assert least * (1 - 1e-6) <= step <= least * 2.5 * (1 + 1e-6)
    assert f"{step:e}"[0] in "125"


def points_of(path: str) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in re.findall(r"[ML](\d+) (\d+)", path)]


def test_a_line_turns_y_up_and_leaves_out_what_is_straight() -> None:
    x = np.linspace(0, 1, 11)
    assert points_of(line(x, x)) == [(0, BOX), (BOX, 0)]
    bent = np.where(x < 0.5, 0, 1.0)
    assert points_of(line(x, bent)) == [(0, BOX), (400, BOX), (500, 0), (BOX, 0)]


def test_a_line_stays_in_its_box() -> None:
    assert points_of(line(np.array([0, 1.0]), np.array([-3.0, 7.0]))) == [(0, BOX), (BOX, 0)]


def test_columns_stand_on_their_bases_and_empty_ones_are_left_out() -> None:
    edges = np.array([0, 0.25, 0.5, 1.0])
    assert columns(edges, np.array([0.5, 0, 1])) == "M0 500H250V1000H0zM500 0H1000V1000H500z"
    stacked = columns(edges, np.array([0.5, 0, 0]), np.array([0.25, 1, 1]))
    assert stacked == "M0 250H250V750H0z"


def test_a_step_area_closes_on_the_axis() -> None:
    assert step_area(np.array([0, 0.5, 1.0]), np.array([0.2, 1.0])) == "M0 1000V800H500V0H1000V1000z"
