"""The pool with real processes: they start, are refused, crash, hang and wait; its decisions are in tests/unit/cluster/test_pool.py."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import ray

from bmodel.errors import DeviceError
from cluster.cards.card_lock import CardLock
from cluster.cards.card_slots import CardSlot
from cluster.cards.job_cards import JobCards
from cluster.connect import connected
from cluster.pool.actors import start_actor
from cluster.pool.pool import Outcome, WorkerPool
from cluster.pool.slot_table import PoolLimits
from cluster.pool.work import Shard
from cluster.pool.worker_protocol import WorkerInfo
from tests.ray.conftest import SharedCluster


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """What a worker does, by card and image.

    refuse, die, hang: images at which it raises, exits its process or never answers. broken_cards: cards whose worker
    does not even start. slow_cards: seconds per image there. locks: a folder with a lock file per card, which its
    worker takes. meeting: a folder in which each card signs when it gets a shard, or at its
    start where that may be its end; none works on before two have, however long their processes take to start.
    """

    refuse: frozenset[int] = frozenset()
    die: frozenset[int] = frozenset()
    hang: frozenset[int] = frozenset()
    broken_cards: frozenset[int] = frozenset()
    slow_cards: dict[int, float] = field(default_factory=dict)
    locks: Path | None = None
    meeting: Path | None = None


def lock_of(folder: Path, device_id: int) -> Path:
    return folder / f"{device_id}.lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What a worker sends back."""

    images: list[int]
    device_id: int
    failed_count: int = 0


class ObedientWorker:
    """Answers a shard with its images' numbers and its own name."""

    def __init__(self, slot: CardSlot, orders: Orders) -> None:
        self._slot = slot
        self._orders = orders
        if slot.device_id in orders.broken_cards or orders.locks is not None:
            self._sign()
        if slot.device_id in orders.broken_cards:
            raise DeviceError(f"card {slot.device_id} cannot load the network")
        if orders.locks is not None:
            self._lock = CardLock(lock_of(orders.locks, slot.device_id), wait_s=0.2)

    def describe(self) -> WorkerInfo:
        return WorkerInfo(host=self._slot.host, pid=os.getpid(), lock="", load_ms=1.0, warmup_ms=1.0)

    def process(self, images: list[int], _attempt: int, _sent_s: float) -> Rows:
        orders = self._orders
        self._sign()
        while orders.meeting is not None and len(list(orders.meeting.iterdir())) < 2:
            time.sleep(0.02)
        for image in images:
            time.sleep(orders.slow_cards.get(self._slot.device_id, 0.0))
            if image in orders.die:
                os._exit(1)
            if image in orders.hang:
                time.sleep(3600)
            if image in orders.refuse:
                raise DeviceError(f"card {self._slot.device_id} refuses image {image}")
        return Rows(images=images, device_id=self._slot.device_id)

    def _sign(self) -> None:
        if self._orders.meeting is not None:
            (self._orders.meeting / str(self._slot.device_id)).touch()


@pytest.fixture(scope="module")
def here(cluster: SharedCluster) -> Iterator[None]:
    """This process as a client of the cluster."""
    import tests.ray.test_pool as this_module

    # The workers' processes cannot import the tests, so the class itself travels to them.
    ray.cloudpickle.register_pickle_by_value(this_module)
    with connected(cluster.address, local_resources={}):
        yield
    ray.cloudpickle.unregister_pickle_by_value(this_module)


@dataclass(kw_only=True)
class Run:
    """A pool's run: its outcomes in order, what it told the user, and the cards that answered."""

    outcomes: list[Outcome[Rows]]
    said: list[str]
    pool: WorkerPool[Rows]

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


def carry_out(
    orders: Orders,
    *,
    total: int = 12,
    size: int = 3,
    cards: int = 2,
    most: int | None = None,
    check: Callable[[], None] = lambda: None,
    outcomes: list[Outcome[Rows]] | None = None,
    said: list[str] | None = None,
    pause_s: float = 0.0,
    **limits: Any,
) -> Run:
    """Run a pool to its end; `outcomes` gets what came and `said` what it told, also when it ends in an error.

    pause_s: how long whoever takes the outcomes is busy with the first of them.
    """
    outcomes = [] if outcomes is None else outcomes
    said = [] if said is None else said
    limits = {"shard_deadline_s": 120.0, **limits}
    all_cards = JobCards(most=None, needs_real=False)
    pool: WorkerPool[Rows] = WorkerPool(
        start_worker=lambda slot: start_actor(ObedientWorker, slot, orders),
        load=lambda shard: list(range(shard.start, shard.stop)),
        discover=lambda: [slot for slot in all_cards.discover() if slot.device_id < cards],
        limits=PoolLimits(cards=cards if most is None else most, first_pause_s=0.05, **limits),
        tell=said.append,
        check=check,
    )
    shards = [Shard(start, min(start + size, total)) for start in range(0, total, size)]
    for outcome in pool.run(shards):
        time.sleep(0 if outcomes else pause_s)
        outcomes.append(outcome)
        if outcome.result is not None:
            assert outcome.result.images == list(range(outcome.shard.start, outcome.shard.stop))
    return Run(outcomes=outcomes, said=said, pool=pool)


pytestmark = pytest.mark.usefixtures("here")


def test_every_shard_comes_back_once_and_both_cards_work(tmp_path: Path) -> None:
    run = carry_out(Orders(meeting=tmp_path), total=24)
    assert run.images(lost=False) == list(range(24))
    assert len(run.outcomes) == 8
    assert len(run.cards) == 2
    assert run.said == []


def test_images_that_kill_workers_or_are_refused_are_lost_alone() -> None:
    run = carry_out(Orders(die=frozenset({4}), refuse=frozenset({7})), total=8, size=2)
    assert run.images(lost=True) == [4, 7]
    assert run.images(lost=False) == [0, 1, 2, 3, 5, 6]
    reasons = {outcome.shard.start: outcome.lost or "" for outcome in run.outcomes}
    assert "refuses image 7" in reasons[7]
    assert "ActorDiedError" in reasons[4]


def test_a_worker_that_does_not_start_names_its_reason(tmp_path: Path) -> None:
    orders = Orders(broken_cards=frozenset({1}), slow_cards={0: 0.5}, meeting=tmp_path)
    run = carry_out(orders, total=12, size=1)
    assert run.images(lost=False) == list(range(12))
    assert run.cards == {0}
    assert any("card 1 cannot load the network" in sentence for sentence in run.said), run.said


def test_a_worker_that_hangs_is_replaced_after_its_deadline() -> None:
    run = carry_out(Orders(hang=frozenset({2})), total=4, size=1, cards=1, shard_deadline_s=2.0)
    assert run.images(lost=True) == [2]
    assert run.images(lost=False) == [0, 1, 3]
    assert any("no answer within the shard's deadline of 2.0 s" in sentence for sentence in run.said)


def test_a_request_to_stop_ends_the_run_and_its_workers() -> None:
    class AskedToStop(Exception):
        pass

    calls = []

    def check() -> None:
        calls.append(time.monotonic())
        if len(calls) > 3 and calls[-1] - calls[0] > 2.0:
            raise AskedToStop

    with pytest.raises(AskedToStop):
        carry_out(Orders(slow_cards=dict.fromkeys(range(3), 60.0)), check=check)
    # Far less than a shard takes; half a second on a machine that is quiet.
    assert max(after - before for before, after in pairwise(calls)) < 10.0
    free = carry_out(Orders(), cards=3, no_card_s=5.0)
    assert free.images(lost=False) == list(range(12)), "the cards were given back"


TAKEN = rf"card 0 on .* is taken by another job \(process {os.getpid()} on .*\)"


def test_a_card_whose_lock_is_taken_is_waited_for_and_the_others_finish_without_it(tmp_path: Path) -> None:
    lock = CardLock(lock_of(tmp_path, 0))
    try:
        meeting = tmp_path / "meeting"
        meeting.mkdir()
        run = carry_out(Orders(locks=tmp_path, slow_cards={1: 0.5}, meeting=meeting))
    finally:
        lock.release()
    assert run.images(lost=False) == list(range(12))
    assert run.cards == {1}
    [said] = run.said
    assert re.fullmatch(TAKEN + ": waiting for it", said)
    assert all(state.failures == 0 and state.usable for state in run.pool.slots)


def test_workers_run_the_drivers_own_code() -> None:
    """It travels with the job: a node needs Ray and the libraries, not Raysail, and never runs another version."""

    @ray.remote(num_cpus=0)
    def where() -> list[str]:
        import importlib

        modules = ("bmodel", "data", "models", "tpu_worker.detector", "cluster.pool.worker", "jobs.detect")
        return [str(importlib.import_module(name).__file__) for name in modules]

    for place in ray.get(where.remote()):
        assert "/runtime_resources/py_modules_files/" in place
