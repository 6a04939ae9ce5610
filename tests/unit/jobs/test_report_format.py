"""Numbers as people read them: what is unknown is never a zero, what is little never nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.report.format import count, decimal, duration, fraction, milliseconds, percent, plural, setting

THIN = "\N{NARROW NO-BREAK SPACE}"
DASH = "\N{EN DASH}"


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (fraction, None, DASH),
        (fraction, 0.56841, "0.568"),
        (fraction, 0.0, "0.000"),
        (count, 15052, f"15{THIN}052"),
        (decimal, None, DASH),
        (decimal, 0.0, "0"),
        (decimal, 1234.5, f"1{THIN}234"),
        (decimal, 102.4, "102"),
        (decimal, 33.24, "33.2"),
        (decimal, 2.126, "2.13"),
        (decimal, 0.6398, "0.640"),
        (milliseconds, None, DASH),
        (milliseconds, 33.24, f"33.2{THIN}ms"),
        (percent, None, DASH),
        (percent, 0.0, f"0{THIN}%"),
        (percent, 0.004, f"<1{THIN}%"),
        (percent, 0.936, f"94{THIN}%"),
        (duration, 3.0, f"3.00{THIN}s"),
        (duration, 59.99, f"60.0{THIN}s"),
        (duration, 62.2, f"1{THIN}min{THIN}2{THIN}s"),
        (duration, 3600.0, f"1{THIN}h"),
        (duration, 90061.0, f"1{THIN}d{THIN}1{THIN}h"),
        (setting, None, DASH),
        (setting, True, "yes"),
        (setting, [320, 416], "320, 416"),
        (setting, list(range(14)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more"),
        (setting, {"a": False}, "a: no"),
    ],
)
def test_shows(show: Callable[[object], str], value: object, text: str) -> None:
    assert show(value) == text


def test_nouns_follow_their_number() -> None:
    assert [plural(1, "card"), plural(0, "card"), plural(2000, "box", "boxes")] == [
        "1 card",
        "0 cards",
        f"2{THIN}000 boxes",
    ]
