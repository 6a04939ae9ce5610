"""B: the image list → even, deterministic shards; pure functions of their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster.work import Shard

LARGEST_DEFAULT_SHARD = 256
SHARDS_PER_CARD = 8


def default_shard_size(image_count: int, *, cards: int, batch: int) -> int:
    """Images a shard: several shards a card for balance, at most 256, whole batches."""
    wanted = min(LARGEST_DEFAULT_SHARD, -(-image_count // (cards * SHARDS_PER_CARD)))
    return max(1, -(-wanted // batch)) * batch


def make_shards(image_count: int, shard_size: int) -> list[Shard]:
    """Cut image_count images into shards of shard_size, the last one smaller."""
    if shard_size < 1:
        raise ValueError(f"shard_size must be positive, got {shard_size}")
    return [Shard(start, min(start + shard_size, image_count)) for start in range(0, image_count, shard_size)]


def remaining_shards(shards: Sequence[Shard], committed: Iterable[Shard]) -> list[Shard]:
    """What of the shards no committed range covers; a shard committed in parts leaves its gaps."""
    done = sorted(committed)
    remaining: list[Shard] = []
    position = 0
    for shard in sorted(shards):
        start = shard.start
        while position < len(done) and done[position].stop <= shard.start:
            position += 1
        at = position
        while at < len(done) and done[at].start < shard.stop:
            if done[at].start > start:
                remaining.append(Shard(start, done[at].start))
            start = max(start, done[at].stop)
            at += 1
        if start < shard.stop:
            remaining.append(Shard(start, shard.stop))
    return remaining
