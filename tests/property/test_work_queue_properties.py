"""Whatever fails where: every image ends exactly once, and only what is bad everywhere is lost."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cluster.cards.card_slots import CardSlot
from cluster.pool.work import ATTEMPTS_OF_ONE_IMAGE, Shard, Work, WorkQueue

CARDS = [CardSlot(node_id="node", host="host", device_id=number) for number in range(3)]


@given(
    dice=st.randoms(use_true_random=False),
    total=st.integers(1, 30),
    size=st.integers(1, 9),
    cards=st.integers(1, 3),
    bad=st.sets(st.integers(0, 29), max_size=4),
)
def test_every_image_ends_once(dice: random.Random, total: int, size: int, cards: int, bad: set[int]) -> None:
    """dice: drawn throw by throw, so that a failure shrinks to the fewest and least."""
    poison = {index for index in bad if index < total}
    queue = WorkQueue(Shard(start, min(start + size, total)) for start in range(0, total, size))
    under_way: list[tuple[CardSlot, Work]] = []
    ended: dict[int, str] = {}
    idle_rounds = 0
    while under_way or not queue.is_empty():
        assert idle_rounds < 3, "work is left, nothing is under way, and no card takes it"
        idle_rounds += 1
        for card in dice.sample(CARDS[:cards], cards):
            busy = any(slot == card for slot, _ in under_way)
            runs_suspect = any(slot == card and work.is_suspect for slot, work in under_way)
            others = [other for other in CARDS[:cards] if other != card]
            if not runs_suspect and (work := queue.take(card, is_busy=busy, others=others)) is not None:
                assert not (work.is_suspect and busy), "a suspect runs alone"
                work.attempts += 1
                under_way.append((card, work))
                idle_rounds = 0
        if not under_way:
            continue
        card, work = under_way.pop(dice.randrange(len(under_way)))
        idle_rounds = 0
        images = range(work.shard.start, work.shard.stop)
        if poison & set(images):
            lost = queue.failed(work, card, "made up")
            if lost is not None:
                assert len(lost.failed_on) == ATTEMPTS_OF_ONE_IMAGE
                note(ended, lost.shard, "lost")
        elif dice.randrange(6) == 5:
            queue.give_back(work)  # its card died under it, for a reason of its own
        else:
            note(ended, work.shard, "ok")
    assert ended == {index: "lost" if index in poison else "ok" for index in range(total)}


def note(ended: dict[int, str], shard: Shard, how: str) -> None:
    for index in range(shard.start, shard.stop):
        assert index not in ended, f"image {index} ended twice"
        ended[index] = how
