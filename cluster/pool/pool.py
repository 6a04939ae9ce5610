"""One actor per card slot, at most two attempts in flight on each; every retry is decided here, none by Ray.

The pool gets a factory of actors, so that a test or a benchmark can put its own worker on the cards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ray.exceptions import RayError, RayTaskError

from bmodel.errors import OutputError
from cluster.cards.card_slots import CardSlot
from cluster.pool.ray_calls import ActorCalls, RayCalls
from cluster.pool.ray_errors import own_error, sentence_of
from cluster.pool.slot_phase import SlotPhase
from cluster.pool.slot_table import PoolLimits, SlotTable
from cluster.pool.work import Flight, Shard, SlotState, Work, WorkQueue
from cluster.pool.worker_protocol import Result

R = TypeVar("R", bound=Result)

FLIGHTS_PER_CARD = 2
STRAGGLER_FACTOR = 2.0
STRAGGLER_LEAST_S = 2.0
POLL_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome(Generic[R]):
    """The end of a shard or of a part of one: the worker's result, or the reason why its one image is lost.

    worker_ended: whether the last attempt at a lost image ended its worker, or passed its deadline, instead of raising.
    """

    shard: Shard
    attempt: int
    result: R | None = None
    lost: str | None = None
    worker_ended: bool = False


class WorkerPool(Generic[R]):
    """Carries shards to cards and their results back.

    start_worker: makes the actor of a slot, pinned to it, with a Worker for its body. load: the argument `images` for
    a shard. discover: the slots there are at present. tell: takes a sentence for the user. check: called at least once
    a second; what it raises ends the run. calls: how actors are reached. run_time_s: seconds since the run began, more
    than 0 where it is resumed.
    """

    def __init__(
        self,
        *,
        start_worker: Callable[[CardSlot], Any],
        load: Callable[[Shard], Any],
        discover: Callable[[], Iterable[CardSlot]],
        limits: PoolLimits,
        tell: Callable[[str], None],
        check: Callable[[], None] = lambda: None,
        calls: ActorCalls | None = None,
        run_time_s: float = 0.0,
    ) -> None:
        self._load = load
        self._check = check
        self._limits = limits
        self._calls = calls or RayCalls()
        self._run_began_s = self._calls.now() - run_time_s
        self._table = SlotTable(
            start_worker=start_worker, discover=discover, limits=limits, tell=tell, calls=self._calls
        )
        self._queue = WorkQueue(())
        self._known_good: Shard | None = None

    @property
    def slots(self) -> list[SlotState]:
        """Every slot the pool has ever seen, with its account."""
        return self._table.states

    @property
    def first_start_s(self) -> float | None:
        """When the first worker was started, monotonic seconds; None before."""
        return self._table.first_start_s

    def cards(self) -> list[CardSlot]:
        """The cards that are there at present, quarantined ones too; may be asked by another thread."""
        return self._table.present

    def run(self, shards: Iterable[Shard]) -> Iterator[Outcome[R]]:
        """Yield each shard's outcome once, as it comes; a shard may come back in parts that cover it exactly.

        Raises RunError when no card is left.
        """
        self._queue = WorkQueue(shards)
        try:
            while self._work_is_left():
                self._check()
                now = self._calls.now()
                for work in self._table.refresh(now):
                    self._queue.give_back(work)
                self._feed(now)
                yield from self._collect()
                yield from self._enforce_deadlines(self._calls.now())
        finally:
            self._table.close()

    def _work_is_left(self) -> bool:
        under_way = any(not flight.work.done for state in self.slots for flight in state.flights)
        return under_way or not self._queue.is_empty()

    # Work goes out.

    def _feed(self, now: float) -> None:
        # Breadth first: every card gets its first work before any gets its second.
        for depth in range(FLIGHTS_PER_CARD):
            for state in self.slots:
                if state.ready and len(state.flights) <= depth and not _runs_a_suspect(state):
                    work = self._next_work(state, now)
                    if work is not None:
                        self._launch(state, work, now)

    def _next_work(self, state: SlotState, now: float) -> Work | None:
        is_busy = bool(state.flights)
        if state.phase is SlotPhase.PROBING and self._known_good is not None:
            return None if is_busy else Work(self._known_good, done=True, is_probe=True)
        others = [other.slot for other in self.slots if other.ready and other is not state]
        work = self._queue.take(state.slot, is_busy=is_busy, others=others)
        return work or (None if is_busy else self._straggler(state, now))

    def _straggler(self, idle: SlotState, now: float) -> Work | None:
        """The slowest work under way elsewhere, to be run a second time: the first attempt to end is taken."""
        slowest: tuple[float, Work] | None = None
        for state in self.slots:
            images_before = 0
            for flight in state.flights:
                images_before += len(flight.work.shard)
                expected_s = (idle.seconds_per_image or state.seconds_per_image) * images_before
                late_s = now - flight.launched_s - max(STRAGGLER_LEAST_S, STRAGGLER_FACTOR * expected_s)
                may_run = (
                    not flight.work.done
                    and not flight.work.is_suspect
                    and self._table.copies(flight.work) == 1
                )
                if may_run and late_s > 0 and (slowest is None or late_s > slowest[0]):
                    slowest = (late_s, flight.work)
        return slowest[1] if slowest else None

    def _launch(self, state: SlotState, work: Work, now: float) -> None:
        if state.worker is None:
            raise RuntimeError(f"{state.slot} must have a worker to be given work")
        work.attempts += 1
        images = self._load(work.shard)
        sent_s = self._calls.now() - self._run_began_s
        ref = self._calls.process(state.worker.handle, images, work.attempts, sent_s)
        head_since_s = None if state.flights else now
        state.flights.append(
            Flight(work=work, attempt=work.attempts, ref=ref, launched_s=now, head_since_s=head_since_s)
        )

    # Results come in.

    def _collect(self) -> Iterator[Outcome[R]]:
        owner: dict[Any, tuple[SlotState, Flight | None]] = {}
        for state in self.slots:
            if state.phase is SlotPhase.STARTING and state.worker is not None:
                owner[state.worker.described] = (state, None)
            owner.update({flight.ref: (state, flight) for flight in state.flights})
        if not owner:
            self._calls.sleep(POLL_S / 2)
            return
        for ref in self._calls.ended(list(owner), timeout_s=POLL_S):
            state, flight = owner[ref]
            if flight is None:
                self._take_ready(state, ref)
            elif flight in state.flights:  # a failure of its card has not taken it away in the meantime
                yield from self._take_result(state, flight)

    def _take_ready(self, state: SlotState, ref: Any) -> None:
        try:
            info = self._calls.answer(ref)
        except RayError as error:
            if not self._table.waits_for_other_job(state, own_error(error)):
                self._fail_card(state, sentence_of(error), may_probe=False)
            return
        self._table.is_ready(state, info)

    def _take_result(self, state: SlotState, flight: Flight) -> Iterator[Outcome[R]]:
        try:
            result = self._calls.answer(flight.ref)
        except RayTaskError as error:
            if isinstance(cause := own_error(error), OutputError):
                raise cause from None  # the model's fault, on every card and with every image
            yield from self._refused(state, flight, sentence_of(error))
            return
        except RayError as error:  # the actor or its node died, or the result was lost with its node
            yield from self._crashed(state, sentence_of(error))
            return
        now = self._calls.now()
        state.flights.remove(flight)
        self._table.succeeded(state)
        if flight.head_since_s is not None:
            state.learn_speed(now - flight.head_since_s, len(flight.work.shard))
        _promote(state, now)
        if not flight.work.done:
            flight.work.done = True
            if not result.failed_count:
                self._known_good = Shard(flight.work.shard.start, flight.work.shard.start + 1)
            yield Outcome(shard=flight.work.shard, attempt=flight.attempt, result=result)

    # Things break.

    def _enforce_deadlines(self, now: float) -> Iterator[Outcome[R]]:
        for state in self.slots:
            if state.phase is SlotPhase.STARTING:
                if reason := self._table.check_start(state, now):
                    self._fail_card(state, reason, may_probe=False)
            elif state.flights and (head := state.flights[0]).head_since_s is not None:
                allowed_s = state.deadline_s(len(head.work.shard), self._limits.shard_deadline_s)
                # Whoever takes the results may have kept the pool waiting longer than the card.
                if now - head.head_since_s > allowed_s and not self._calls.ended([head.ref], timeout_s=0):
                    yield from self._crashed(
                        state, f"no answer within the shard's deadline of {allowed_s:.1f} s"
                    )

    def _refused(self, state: SlotState, flight: Flight, reason: str) -> Iterator[Outcome[R]]:
        """Handle an error that the worker survived; the first in a row leaves it in place."""
        state.flights.remove(flight)
        yield from self._blame(flight.work, state, reason)
        if state.failures_in_a_row:
            self._fail_card(state, reason)
        else:
            state.failures += 1
            state.failures_in_a_row += 1
            state.last_error = reason
            _promote(state, self._calls.now())

    def _crashed(self, state: SlotState, reason: str) -> Iterator[Outcome[R]]:
        """Handle the end of a worker: its oldest work is to blame, what else it had is merely done again.

        Blame comes first, as in `_refused`: a quarantine then forgives this work too.
        """
        blamed = state.flights.pop(0).work
        yield from self._blame(blamed, state, reason, worker_ended=True)
        self._fail_card(state, reason)

    def _fail_card(self, state: SlotState, reason: str, *, may_probe: bool = True) -> None:
        may_probe = may_probe and self._known_good is not None
        for work in self._table.fail(state, reason, may_probe=may_probe):
            self._queue.give_back(work)
        if state.quarantined:
            under_way = [flight.work for other in self.slots for flight in other.flights]
            self._queue.forgive(state.slot, under_way)

    def _blame(
        self, work: Work, state: SlotState, reason: str, *, worker_ended: bool = False
    ) -> Iterator[Outcome[R]]:
        if work.done or self._table.copies(work):
            return
        lost = self._queue.failed(work, state.slot, reason)
        if lost is not None:
            yield Outcome(shard=lost.shard, attempt=lost.attempts, lost=reason, worker_ended=worker_ended)


def _runs_a_suspect(state: SlotState) -> bool:
    return any(flight.work.is_suspect for flight in state.flights)


def _promote(state: SlotState, now: float) -> None:
    """The oldest attempt's clock starts when it becomes the oldest."""
    if state.flights and state.flights[0].head_since_s is None:
        state.flights[0].head_since_s = now
