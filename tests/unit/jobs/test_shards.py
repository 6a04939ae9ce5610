"""B: shards cover every image once, and what is left is exactly what is not committed."""

from __future__ import annotations

import pytest

from cluster.pool.work import Shard
from jobs.inputs.images import default_shard_size, make_shards, remaining_shards


@pytest.mark.parametrize(
    ("image_count", "shard_size", "expected"),
    [
        (0, 4, []),
        (1, 4, [(0, 1)]),
        (4, 4, [(0, 4)]),
        (5, 4, [(0, 4), (4, 5)]),
        (6, 2, [(0, 2), (2, 4), (4, 6)]),
    ],
)
def test_shards_are_even_but_for_the_last(
    image_count: int, shard_size: int, expected: list[tuple[int, int]]
) -> None:
    assert make_shards(image_count, shard_size) == [Shard(*pair) for pair in expected]


def test_a_shard_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="shard_size must be positive, got 0"):
        make_shards(10, 0)


@pytest.mark.parametrize(
    ("image_count", "cards", "batch", "expected"),
    [
        (1, 1, 1, 1),
        (64, 1, 1, 8),
        (64, 2, 1, 4),
        (64, 32, 1, 1),
        (64, 1, 4, 8),
        (65, 1, 4, 12),
        (3, 8, 4, 4),
        (1_000_000, 1, 1, 256),
        (1_000_000, 4, 4, 256),
        (1_000_000, 1, 3, 258),
    ],
)
def test_the_default_size_gives_each_card_some_shards_of_whole_batches(
    image_count: int, cards: int, batch: int, expected: int
) -> None:
    assert default_shard_size(image_count, cards=cards, batch=batch) == expected


@pytest.mark.parametrize(
    ("committed", "left"),
    [
        ([], [(0, 4), (4, 8), (8, 10)]),
        ([(0, 4)], [(4, 8), (8, 10)]),
        ([(0, 4), (4, 8), (8, 10)], []),
        ([(1, 2)], [(0, 1), (2, 4), (4, 8), (8, 10)]),
        ([(0, 1), (3, 4)], [(1, 3), (4, 8), (8, 10)]),
        ([(9, 10), (4, 6), (6, 7)], [(0, 4), (7, 8), (8, 9)]),
        ([(2, 9)], [(0, 2), (9, 10)]),
        ([(0, 10)], []),
    ],
)
def test_what_is_left(committed: list[tuple[int, int]], left: list[tuple[int, int]]) -> None:
    done = [Shard(*pair) for pair in committed]
    assert remaining_shards(make_shards(10, 4), done) == [Shard(*pair) for pair in left]


def test_a_shards_name_sorts_like_its_images() -> None:
    shards = [Shard(9, 10), Shard(10, 11), Shard(100, 200), Shard(10, 100)]
    by_name = sorted(shards, key=lambda shard: shard.shard_id)
    assert by_name == sorted(shards)
    assert Shard(10, 100).shard_id == "0000000010-0000000100"


@pytest.mark.parametrize(("start", "stop"), [(3, 3), (4, 3), (-1, 3)])
def test_an_empty_shard_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="0 <= start < stop"):
        Shard(start, stop)


@pytest.mark.parametrize(("shard", "sizes"), [(Shard(0, 2), (1, 1)), (Shard(5, 10), (2, 3))])
def test_halves_cover_the_shard(shard: Shard, sizes: tuple[int, int]) -> None:
    first, second = shard.halves()
    assert (first.start, first.stop, second.stop) == (shard.start, second.start, shard.stop)
    assert (len(first), len(second)) == sizes
