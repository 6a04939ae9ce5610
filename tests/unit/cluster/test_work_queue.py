"""What becomes of work that fails: another card, halves, one lost image; and never a wait without end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster.cards.card_slots import CardSlot
from cluster.pool.work import ATTEMPTS_OF_ONE_IMAGE, FIRST_DEADLINE_S, Shard, SlotState, Work, WorkQueue

CARDS = [CardSlot(node_id="node", host="host", device_id=number) for number in range(3)]
A, B, C = CARDS


def take(queue: WorkQueue, slot: CardSlot, others: list[CardSlot], *, is_busy: bool = False) -> Work | None:
    work = queue.take(slot, is_busy=is_busy, others=others)
    if work is not None:
        work.attempts += 1
    return work


def carry_out(
    queue: WorkQueue, cards: list[CardSlot], is_bad: Callable[[CardSlot, Shard], bool]
) -> dict[int, str]:
    """Let the cards take turns until nothing is left; returns what became of each image.

    Fails when a whole round of all cards takes nothing although something is left.
    """
    outcome: dict[int, str] = {}
    for _ in range(10_000):
        if queue.is_empty():
            return outcome
        taken = 0
        for card in cards:
            work = take(queue, card, [other for other in cards if other != card])
            if work is None:
                continue
            taken += 1
            if is_bad(card, work.shard):
                if (lost := queue.failed(work, card, "made up")) is not None:
                    outcome[lost.shard.start] = "lost"
            else:
                for index in range(work.shard.start, work.shard.stop):
                    assert index not in outcome, "an image was done twice"
                    outcome[index] = "ok"
        assert taken, "work is left and no card takes it"
    raise AssertionError("it does not end")


def test_fresh_shards_come_in_order() -> None:
    shards = [Shard(0, 4), Shard(4, 8), Shard(8, 9)]
    queue = WorkQueue(shards)
    assert not queue.is_empty()
    assert [work.shard for _ in shards if (work := take(queue, A, []))] == shards
    assert queue.is_empty()
    assert take(queue, A, []) is None


def test_a_look_whether_it_is_empty_changes_nothing() -> None:
    queue = WorkQueue([Shard(0, 1), Shard(1, 2)])
    assert [queue.is_empty() for _ in range(3)] == [False] * 3
    first = take(queue, A, [])
    assert first is not None
    assert first.shard == Shard(0, 1)


def test_no_shards_is_no_work() -> None:
    assert WorkQueue([]).is_empty()


def test_work_without_a_fault_of_its_own_comes_back_first() -> None:
    queue = WorkQueue([Shard(0, 4), Shard(4, 8)])
    work = take(queue, A, [B])
    assert work is not None
    queue.give_back(work)
    assert take(queue, A, [B]) is work
    assert not work.is_suspect


def test_a_suspect_goes_to_another_card_and_runs_alone() -> None:
    queue = WorkQueue([Shard(0, 4)])
    work = take(queue, A, [B])
    assert work is not None
    assert queue.failed(work, A, "made up") is None
    assert take(queue, A, [B]) is None, "B has not tried it yet"
    assert take(queue, B, [A], is_busy=True) is None, "blame must be exact"
    assert take(queue, B, [A]) is work


def test_a_suspect_stays_where_there_is_no_other_card() -> None:
    queue = WorkQueue([Shard(0, 4)])
    work = take(queue, A, [])
    assert work is not None
    queue.failed(work, A, "made up")
    assert take(queue, A, []) is work


def test_a_shard_that_failed_twice_is_halved_and_halves_at_once() -> None:
    queue = WorkQueue([Shard(0, 5)])
    for card in (A, B):
        work = take(queue, card, [other for other in (A, B) if other != card])
        assert work is not None
        assert work.shard == Shard(0, 5)
        assert queue.failed(work, card, "made up") is None
    first = take(queue, A, [B])
    assert first is not None
    assert (first.shard, first.attempts) == (Shard(0, 2), 3), (
        "attempts are counted on, so that names stay unique"
    )
    queue.failed(first, A, "made up")
    assert [take(queue, A, []).shard for _ in range(3)] == [Shard(2, 5), Shard(0, 1), Shard(1, 2)]  # type: ignore[union-attr]


@pytest.mark.parametrize("cards", [[A], [A, B], [A, B, C]], ids=["one", "two", "three"])
@pytest.mark.parametrize("bad", [{0}, {6}, {3, 4}, {0, 1, 2, 3, 4, 5, 6}, set()], ids=str)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_exactly_the_bad_images_are_lost(cards: list[CardSlot], bad: set[int], size: int) -> None:
    queue = WorkQueue(Shard(start, min(start + size, 7)) for start in range(0, 7, size))
    outcome = carry_out(queue, cards, lambda _, shard: bool(bad & set(range(shard.start, shard.stop))))
    assert outcome == {index: "lost" if index in bad else "ok" for index in range(7)}


@pytest.mark.parametrize("cards", [[A, B], [A, B, C]], ids=["two", "three"])
def test_one_bad_card_costs_no_image(cards: list[CardSlot]) -> None:
    """It fails everything, and a pool would take it away after five failures; until then nothing may be lost."""
    queue = WorkQueue(Shard(start, start + 2) for start in range(0, 20, 2))
    outcome = carry_out(queue, cards, lambda card, _: card == A)
    assert outcome == dict.fromkeys(range(20), "ok")


def test_one_image_is_given_up_after_three_tries() -> None:
    queue = WorkQueue([Shard(3, 4)])
    lost = None
    for attempt in range(1, ATTEMPTS_OF_ONE_IMAGE + 1):
        assert lost is None
        work = take(queue, A, [])
        assert work is not None
        lost = queue.failed(work, A, f"reason {attempt}")
    assert lost is not None
    assert (lost.attempts, lost.last_error, lost.done) == (3, "reason 3", True)
    assert queue.is_empty()


def test_forgiven_work_is_no_suspect_any_more() -> None:
    queue = WorkQueue([Shard(0, 4), Shard(4, 5)])
    both = [take(queue, A, [B]), take(queue, A, [B])]
    for work in both:
        assert work is not None
        queue.failed(work, A, "made up")
    queue.forgive(A, ())
    assert take(queue, A, [B], is_busy=True) is both[0]
    assert take(queue, B, [A]) is both[1]
    assert queue.is_empty()


def test_forgiving_one_card_keeps_what_another_says() -> None:
    queue = WorkQueue([Shard(0, 1)])
    work = take(queue, A, [B])
    assert work is not None
    queue.failed(work, A, "made up")
    assert take(queue, B, [A]) is work
    queue.failed(work, B, "made up")
    queue.forgive(A, ())
    assert work.failed_on == [B]
    assert take(queue, B, [A]) is None
    assert take(queue, A, [B]) is work


def test_work_under_way_on_another_card_is_forgiven_too() -> None:
    queue = WorkQueue([Shard(0, 4)])
    work = take(queue, A, [B])
    assert work is not None
    queue.failed(work, A, "made up")
    assert take(queue, B, [A]) is work
    queue.forgive(A, [work])
    assert not work.is_suspect
    assert queue.is_empty(), "it is under way, and waits nowhere"


# The account of a card.


def test_a_deadline_follows_from_measured_speed() -> None:
    state = SlotState(slot=A)
    assert state.deadline_s(10, None) == FIRST_DEADLINE_S
    state.learn_speed(95.0, 1)
    assert state.deadline_s(4, None) == FIRST_DEADLINE_S + 10 * 4 * 95.0
    assert state.deadline_s(4, 7.0) == 7.0
    for _ in range(100):
        state.learn_speed(8.0, 4)
    assert state.seconds_per_image == pytest.approx(2.0)
