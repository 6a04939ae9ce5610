"""Which box is which of two lists: as many pairs as possible, the nearest first, and every other box explained."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from data.formats import NamedBoxes, parse_named
from jobs.study.compare_published import Difference, explain, match, overlaps, same_class


def boxes(*lines: str) -> NamedBoxes:
    return parse_named("\n".join(lines), "detections", place="test")


def most_pairs(allowed: np.ndarray) -> int:
    """By trying every assignment of rows to columns, with as many empty columns as there are rows."""
    rows, columns = allowed.shape
    padded = np.concatenate([allowed, np.zeros((rows, rows), np.bool_)], axis=1)
    return max(
        int(padded[np.arange(rows), list(chosen)].sum())
        for chosen in permutations(range(columns + rows), rows)
    )


def test_overlap_counts_both_edges_as_the_voc_tool_does() -> None:
    one = boxes("car 0.9 1 1 10 10")
    other = boxes("car 0.9 1 1 10 10", "car 0.9 6 1 15 10", "car 0.9 11 1 20 10", "car 0.9 10 10 10 10")
    assert overlaps(one, other)[0].tolist() == pytest.approx([1.0, 50 / 150, 0.0, 1 / 100])


def test_matching_finds_as_many_pairs_as_there_can_be() -> None:
    dice = np.random.default_rng(1)
    for _ in range(150):
        shape = dice.integers(1, 5, 2)
        allowed = dice.random(shape) < dice.uniform(0.2, 0.9)
        partner = match(allowed, dice.random(shape))
        found = np.flatnonzero(partner >= 0)
        assert allowed[found, partner[found]].all()
        assert len(set(partner[found].tolist())) == len(found)
        assert len(found) == most_pairs(allowed)


def test_the_nearest_pair_goes_first_and_gives_way_only_for_one_pair_more() -> None:
    distance = np.array([[0.1, 0.2], [0.05, 0.9]])
    everything = np.ones((2, 2), np.bool_)
    assert match(everything, distance).tolist() == [1, 0]
    # Row 1 knows column 0 alone: row 0, although nearer to it, goes to its other choice.
    only = np.array([[True, True], [True, False]])
    assert match(only, np.array([[0.1, 0.2], [0.9, 0.0]])).tolist() == [1, 0]


def test_of_equal_overlaps_the_confidence_decides() -> None:
    iou = np.zeros((1, 2))
    assert match(np.ones((1, 2), np.bool_), iou, np.array([[0.3, 0.1]])).tolist() == [1]


def test_nothing_matches_nothing() -> None:
    none = boxes()
    some = boxes("car 0.9 1 1 10 10")
    assert match(same_class(none, some)).tolist() == []
    assert match(same_class(some, none)).tolist() == [-1]
    assert explain(none, some, np.zeros(0, np.int64)) == [Difference(kind="added", theirs=None, ours=0)]


FAR = "car 0.5 901 901 950 950"


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ("car 0.5 1 1 50 50", "car 0.5 21 1 70 50", ["moved"]),
        ("car 0.5 1 1 50 50", "car 0.3 21 1 90 50", ["moved"]),
        ("car 0.5 1 1 50 50", FAR, ["moved"]),
        ("car 0.4 1 1 50 50", FAR, ["missing", "added"]),
        ("car 0.5 1 1 60 50", FAR, ["missing", "added"]),
        ("car 0.5 1 1 50 50", "bike 0.5 1 1 50 50", ["relabelled"]),
        ("car 0.5 1 1 50 50", "bike 0.2 1 1 50 51", ["relabelled"]),
        ("car 0.5 1 1 50 50", "bike 0.5 21 1 70 50", ["missing", "added"]),
    ],
)
def test_what_became_of_a_box(theirs: str, ours: str, expected: list[str]) -> None:
    unmatched = np.full(1, -1, np.int64)
    assert [one.kind for one in explain(boxes(theirs), boxes(ours), unmatched)] == expected


def test_each_box_is_explained_once() -> None:
    theirs = boxes("car 0.5 1 1 50 50", "car 0.4 1 1 50 44")
    ours = boxes("car 0.4 11 1 60 44")
    kinds = [(one.kind, one.theirs, one.ours) for one in explain(theirs, ours, np.full(2, -1, np.int64))]
    assert kinds == [("missing", 0, None), ("moved", 1, 0)]
