"""The pool's decisions, on scripted workers and a simulated clock; tests/ray/test_pool.py has real processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from bmodel.errors import CardTakenError, DeviceError, OutputError, RunError
from cluster.cards.card_slots import CardSlot
from cluster.pool.pool import Outcome, WorkerPool
from cluster.pool.slot_phase import SlotPhase
from cluster.pool.slot_table import PoolLimits
from cluster.pool.work import Shard
from tests.helpers.scripted_ray import NEVER, Reply, Rows, ScriptedRay, slots

Script = Callable[[CardSlot, Sequence[int], int, float], Reply]


@dataclass(kw_only=True)
class Run:
    """A pool's run: its outcomes in order, what it told the user, and the pool, also after an error."""

    cluster: ScriptedRay
    pool: WorkerPool[Rows]
    told: list[str]
    outcomes: list[Outcome[Rows]] = field(default_factory=list)

    def carry_out(self, *, total: int, size: int, pause_s: float = 0.0) -> Run:
        """Run to the end. pause_s: how long whoever takes the outcomes is busy with the first of them."""
        shards = [Shard(start, min(start + size, total)) for start in range(0, total, size)]
        for outcome in self.pool.run(shards):
            self.cluster.sleep(0 if self.outcomes else pause_s)
            self.outcomes.append(outcome)
            if outcome.result is not None:
                assert outcome.result.images == tuple(range(outcome.shard.start, outcome.shard.stop))
        return self

    def images(self, *, lost: bool) -> list[int]:
        return sorted(
            index
            for outcome in self.outcomes
            if (outcome.lost is not None) == lost
            for index in range(outcome.shard.start, outcome.shard.stop)
        )

    @property
    def cards(self) -> set[int]:
        return {outcome.result.device_id for outcome in self.outcomes if outcome.result is not None}


def pool_on(
    cluster: ScriptedRay, *, cards: int = 2, most: int | None = None, check: Any = lambda: None, **limits: Any
) -> Run:
    """A pool on a scripted cluster of so many cards."""
    told: list[str] = []
    pool: WorkerPool[Rows] = WorkerPool(
        start_worker=cluster.start,
        load=lambda shard: list(range(shard.start, shard.stop)),
        discover=lambda: slots(cards),
        limits=PoolLimits(
            cards=cards if most is None else most, first_pause_s=0.05, **{"shard_deadline_s": 120.0, **limits}
        ),
        tell=told.append,
        check=check,
        calls=cluster,
    )
    return Run(cluster=cluster, pool=pool, told=told)


def refusing(images: set[int]) -> Script:
    """A script by which every card refuses some images."""

    def reply(slot: CardSlot, batch: Sequence[int], _attempt: int, _now: float) -> Reply:
        bad = sorted(images & set(batch))
        return Reply(refuses=DeviceError(f"{slot} refuses image {bad[0]}")) if bad else Reply()

    return reply


def killing(images: set[int]) -> Script:
    """A script by which every worker that gets one of some images dies."""
    return lambda _slot, batch, _attempt, _now: Reply(dies=bool(images & set(batch)))


def on_card(device_id: int, reply: Reply, *, others: Reply = Reply()) -> Script:  # noqa: B008 - frozen
    """A script by which one card does the same with all its work."""
    return lambda slot, *_: reply if slot.device_id == device_id else others


REFUSES = Reply(refuses=DeviceError("the card refuses"))
DIES = Reply(dies=True)


def test_every_shard_comes_back_once_and_both_cards_work() -> None:
    run = pool_on(ScriptedRay()).carry_out(total=24, size=3)
    assert run.images(lost=False) == list(range(24))
    assert len(run.outcomes) == 8
    assert run.cards == {0, 1}
    assert run.told == []
    assert run.pool.first_start_s == 0.0
    assert all(actor.is_dead for actor in run.cluster.actors)
    assert [state.phase for state in run.pool.slots] == [SlotPhase.FREE] * 2


def test_each_call_tells_its_worker_the_time_of_the_run() -> None:
    """Of the driver's monotonic clock alone, and of a resumed run from where it began."""
    cluster = ScriptedRay(time_s=5000.0, process_reply=lambda *_: Reply(after_s=1.0))
    pool: WorkerPool[Rows] = WorkerPool(
        start_worker=cluster.start,
        load=lambda shard: [shard.start],
        discover=lambda: slots(1),
        limits=PoolLimits(),
        tell=lambda _: None,
        calls=cluster,
        run_time_s=30.0,
    )
    assert len(list(pool.run([Shard(0, 1), Shard(1, 2), Shard(2, 3)]))) == 3
    assert cluster.sent_s == pytest.approx([30.01, 30.01, 31.01])


def test_a_model_that_cannot_be_what_it_says_ends_the_run_and_blames_no_card() -> None:
    wrong = Reply(refuses=OutputError("layout: the outputs are not what 'heads' says"))
    run = pool_on(ScriptedRay(process_reply=lambda *_: wrong))
    with pytest.raises(OutputError, match="not what 'heads' says"):
        run.carry_out(total=24, size=3)
    assert run.outcomes == []
    assert [state.failures for state in run.pool.slots] == [0, 0]
    assert run.told == []


def test_no_shards_is_no_run() -> None:
    assert pool_on(ScriptedRay()).carry_out(total=0, size=3).outcomes == []


@pytest.mark.parametrize("cards", [1, 2])
@pytest.mark.parametrize("how", [refusing, killing])
def test_an_image_that_fails_on_every_card_is_lost_alone(
    cards: int, how: Callable[[set[int]], Script]
) -> None:
    """Two cards once passed it to each other for ever, since each had failed on it before."""
    run = pool_on(ScriptedRay(process_reply=how({7})), cards=cards).carry_out(total=12, size=3)
    assert run.images(lost=True) == [7]
    assert run.images(lost=False) == [index for index in range(12) if index != 7]
    [lost] = [outcome.lost for outcome in run.outcomes if outcome.lost is not None]
    assert "refuses image 7" in lost if how is refusing else "ActorDiedError" in lost
    assert [outcome.worker_ended for outcome in run.outcomes if outcome.lost] == [how is killing]
    assert not any(state.quarantined for state in run.pool.slots)


def test_many_bad_images_in_a_row_do_not_cost_the_only_card() -> None:
    """More failures in a row than a card may have, but it can still do what it did before."""
    cluster = ScriptedRay(process_reply=refusing({4, 5}))
    run = pool_on(cluster, cards=1).carry_out(total=6, size=1)
    assert run.images(lost=True) == [4, 5]
    assert run.images(lost=False) == [0, 1, 2, 3]
    [state] = run.pool.slots
    assert state.failures >= 5
    assert not state.quarantined


@pytest.mark.parametrize("failure", [REFUSES, DIES])
def test_a_card_that_goes_bad_is_quarantined_and_costs_no_image(failure: Reply) -> None:
    """It does its first shards and none of the others."""
    calls = itertools.count()
    run = pool_on(ScriptedRay(process_reply=lambda *_: Reply() if next(calls) < 2 else failure), cards=1)
    with pytest.raises(RunError, match="no card is left of 1"):
        run.carry_out(total=12, size=1)
    assert run.images(lost=False) == [0, 1]
    assert run.images(lost=True) == []
    assert [state.phase for state in run.pool.slots] == [SlotPhase.QUARANTINED]


def test_a_bad_card_leaves_all_work_to_a_good_one() -> None:
    cluster = ScriptedRay(process_reply=on_card(0, REFUSES))
    run = pool_on(cluster).carry_out(total=20, size=2)
    assert run.images(lost=False) == list(range(20))
    assert run.cards == {1}
    assert {state.slot.device_id: state.failures > 0 for state in run.pool.slots} == {0: True, 1: False}


@pytest.mark.parametrize("failure", [REFUSES, DIES])
def test_a_quarantine_forgives_all_work_however_the_card_failed(failure: Reply) -> None:
    """The work of the last failure too, and work that is with another card at that moment."""
    slow = Reply(after_s=3.0)
    cluster = ScriptedRay(process_reply=on_card(0, failure, others=slow))
    run = pool_on(cluster)
    for outcome in run.pool.run([Shard(start, start + 2) for start in range(0, 20, 2)]):
        run.outcomes.append(outcome)
        if any(state.quarantined for state in run.pool.slots):
            under_way = [flight.work for state in run.pool.slots for flight in state.flights]
            waiting = run.pool._queue._suspects
            assert not [work for work in (*under_way, *waiting) if work.failed_on]
    assert any(state.quarantined for state in run.pool.slots)
    assert run.images(lost=False) == list(range(20))
    assert {len(outcome.shard) for outcome in run.outcomes} == {2}, "no shard was halved for a card's fault"


def test_a_quarantine_forgives_work_that_is_with_another_card_at_that_moment() -> None:
    """Card 0 fails a shard and starts no more; the shard is with card 1 when card 0 is given up."""
    starts = itertools.count()
    refuses = Reply(after_s=3.0, refuses=DeviceError("the network does not load"))
    cluster = ScriptedRay(
        start_reply=lambda slot, _: refuses if slot.device_id == 0 and next(starts) else Reply(),
        process_reply=lambda slot, images, *_: (
            DIES if slot.device_id == 0 else Reply(after_s=100.0 if images[0] == 0 else 1.0)
        ),
    )
    blamed: list[bool] = []

    def check() -> None:
        if any(state.quarantined for state in run.pool.slots):
            blamed.extend(bool(flight.work.failed_on) for state in run.pool.slots for flight in state.flights)

    run = pool_on(cluster, check=check).carry_out(total=0, size=2)
    run.carry_out(total=4, size=2)
    assert run.images(lost=False) == [0, 1, 2, 3]
    assert blamed
    assert not any(blamed)


def test_a_worker_that_does_not_start_names_its_reason() -> None:
    refuses = Reply(refuses=DeviceError("card 1 cannot load the network"))
    cluster = ScriptedRay(
        start_reply=lambda slot, _: refuses if slot.device_id == 1 else Reply(),
        process_reply=on_card(0, Reply(after_s=0.5)),
    )
    run = pool_on(cluster).carry_out(total=12, size=1)
    assert run.images(lost=False) == list(range(12))
    assert run.cards == {0}
    assert any("card 1 cannot load the network" in sentence for sentence in run.told), run.told


def test_when_no_card_is_left_the_run_ends_with_the_reason() -> None:
    cluster = ScriptedRay(start_reply=lambda *_: Reply(refuses=DeviceError("card 0 cannot load the network")))
    with pytest.raises(RunError, match=r"no card is left of 1: card 0 cannot load the network"):
        pool_on(cluster, cards=1).carry_out(total=12, size=3)
    assert len(cluster.actors) == 5


def test_a_worker_that_never_starts_is_given_up_after_its_deadline() -> None:
    cluster = ScriptedRay(start_reply=lambda *_: NEVER)
    with pytest.raises(RunError, match="no card is left of 1: it did not start within 60 s"):
        pool_on(cluster, cards=1, start_deadline_s=60.0).carry_out(total=1, size=1)
    assert 5 * 60 <= cluster.time_s < 5 * 60 + 30


def test_a_worker_that_hangs_is_replaced_after_its_deadline() -> None:
    cluster = ScriptedRay(process_reply=lambda _slot, images, *_: NEVER if 2 in images else Reply())
    run = pool_on(cluster, cards=1, shard_deadline_s=2.0).carry_out(total=4, size=1)
    assert run.images(lost=True) == [2]
    assert run.images(lost=False) == [0, 1, 3]
    assert any("no answer within the shard's deadline of 2.0 s" in sentence for sentence in run.told)


def test_answers_that_came_while_nobody_looked_are_not_late() -> None:
    """Where taking a result takes longer than a shard may, as with a disk that hangs, no card is to blame."""
    cluster = ScriptedRay(process_reply=lambda _slot, images, *_: Reply(after_s=0.5 * len(images)))
    run = pool_on(cluster, cards=1, shard_deadline_s=3.0).carry_out(total=4, size=3, pause_s=4.0)
    assert run.images(lost=False) == list(range(4))
    assert run.told == []
    assert [state.failures for state in run.pool.slots] == [0]


def test_the_last_shard_of_a_slow_card_is_run_on_an_idle_one_too() -> None:
    cluster = ScriptedRay(process_reply=on_card(0, NEVER))
    run = pool_on(cluster).carry_out(total=4, size=1)
    assert run.images(lost=False) == [0, 1, 2, 3]
    assert run.cards == {1}
    assert not any(state.failures for state in run.pool.slots), "nobody waited for the slow card"


def test_a_batchs_warm_up_is_not_taken_for_one_images_time() -> None:
    cluster = ScriptedRay(
        describe_as=lambda _: {"warmup_ms": 4000.0, "batch": 4}, process_reply=lambda *_: NEVER
    )
    run = pool_on(cluster, cards=1, shard_deadline_s=None, check=stop_after(cluster, 20.0))
    with pytest.raises(AskedToStop):
        run.carry_out(total=4, size=4)
    assert [state.seconds_per_image for state in run.pool.slots] == [1.0]


def test_a_card_comes_back_with_its_node_and_a_lost_one_leaves_its_work() -> None:
    cluster = ScriptedRay(process_reply=lambda *_: Reply(after_s=1.0))
    run = pool_on(cluster)
    run.pool._table._discover = lambda: slots(1) if 7 < cluster.time_s < 17 else slots(2)
    run.carry_out(total=60, size=1)
    assert run.images(lost=False) == list(range(60))
    assert [sentence for sentence in run.told if "is gone" in sentence] == [
        f"{slots(2)[1]} is gone: its node left the cluster"
    ]
    assert len(cluster.actors) == 3
    assert all(state.failures == 0 for state in run.pool.slots)


# Cards that another job has.

HOLDER = "process 7 on elsewhere"
TAKEN = Reply(
    after_s=0.2, refuses=CardTakenError(f"card lock '/tmp/0.lock' must be free, and {HOLDER} holds it")
)


class AskedToStop(Exception):
    pass


def stop_after(cluster: ScriptedRay, seconds: float) -> Callable[[], None]:
    def check() -> None:
        if cluster.time_s > seconds:
            raise AskedToStop

    return check


def held_until(time_s: float, *, device_id: int = 0) -> Callable[[CardSlot, float], Reply]:
    """Workers of a card that find its lock taken until a time."""
    return lambda slot, now: TAKEN if slot.device_id == device_id and now < time_s else Reply()


def test_a_card_whose_lock_is_taken_is_waited_for_and_the_others_finish_without_it() -> None:
    cluster = ScriptedRay(start_reply=held_until(1e9), process_reply=lambda *_: Reply(after_s=0.5))
    run = pool_on(cluster).carry_out(total=12, size=3)
    assert run.images(lost=False) == list(range(12))
    assert run.cards == {1}
    assert run.told == [f"{slots(1)[0]} is taken by another job ({HOLDER}): waiting for it"]
    assert all(state.failures == 0 and state.usable for state in run.pool.slots)


def test_a_lock_that_comes_free_ends_the_wait_and_the_deadline_for_lost_cards_does_not() -> None:
    cluster = ScriptedRay(start_reply=held_until(500.0))
    run = pool_on(cluster, cards=1, no_card_s=1.0).carry_out(total=12, size=3)
    assert run.images(lost=False) == list(range(12))
    assert 500 < cluster.time_s < 510
    assert len(run.told) == 1, run.told


def test_a_taken_lock_that_is_not_waited_for_ends_the_run() -> None:
    run = pool_on(ScriptedRay(start_reply=held_until(1e9)), cards=1, wait_for_cards=False)
    with pytest.raises(RunError, match=rf"is taken by another job \({HOLDER}\), and --no-wait is given$"):
        run.carry_out(total=12, size=3)


def test_a_free_card_is_used_instead_of_one_whose_lock_is_taken() -> None:
    """As within a cluster: then nobody waits, and nothing has to be said."""
    run = pool_on(ScriptedRay(start_reply=held_until(1e9)), most=1, wait_for_cards=False)
    run.carry_out(total=12, size=3)
    assert run.images(lost=False) == list(range(12))
    assert run.cards == {1}
    assert run.told == []


def test_a_wait_for_a_lock_can_be_stopped() -> None:
    cluster = ScriptedRay(start_reply=held_until(1e9))
    calls: list[float] = []
    stop = stop_after(cluster, 60.0)

    def check() -> None:
        calls.append(cluster.time_s)
        stop()

    with pytest.raises(AskedToStop):
        pool_on(cluster, cards=1, check=check).carry_out(total=12, size=3)
    assert max(after - before for before, after in itertools.pairwise(calls)) <= 1.0


def test_a_card_of_another_jobs_actor_is_waited_for_with_few_questions_to_the_scheduler() -> None:
    """It once asked twice in every round for as long as it waited, thousands of times an hour."""
    cluster = ScriptedRay(card_comes_after_s=lambda _: 3600.0, holder="job 1")
    run = pool_on(cluster, cards=1, start_deadline_s=100.0).carry_out(total=3, size=3)
    assert run.images(lost=False) == [0, 1, 2]
    assert run.told == [f"{slots(1)[0]} is taken by another job (job 1): waiting for it"]
    assert cluster.queries <= 2 * 3600 / 3 + 4


def test_a_card_of_another_jobs_actor_that_is_not_waited_for_ends_the_run() -> None:
    cluster = ScriptedRay(card_comes_after_s=lambda _: 3600.0, holder="job 1")
    with pytest.raises(RunError, match="--no-wait is given"):
        pool_on(cluster, cards=1, wait_for_cards=False).carry_out(total=3, size=3)
    assert cluster.time_s < 15
