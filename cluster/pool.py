"""One actor a card slot, at most two attempts in flight on each; every retry is decided here, none by Ray.

The pool gets a factory of actors, so that a test or a benchmark can put its own worker on the cards.

    free slot ──start──▶ starting ──ready──▶ working ──failure──▶ waits, then starts again
                            │                                          │ five failures in a row
                            └──────────── node lost ──▶ gone           ▼
                                                                  quarantined
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import ray

# Ray has no public way to ask what is free on one node without its dashboard.
from ray._private.state import available_resources_per_node
from ray.exceptions import RayActorError, RayError, RayTaskError

from bmodel.errors import DeviceError, RunError
from cluster.cards import CARD_RESOURCE, CardSlot
from cluster.work import Flight, Shard, SlotState, Work

FLIGHTS_PER_CARD = 2
ATTEMPTS_BEFORE_BISECTING = 2
ATTEMPTS_OF_ONE_IMAGE = 3
FAILURES_BEFORE_QUARANTINE = 5
DISCOVER_EVERY_S = 5.0
TAKEN_AFTER_S = 10.0
STRAGGLER_FACTOR = 2.0
STRAGGLER_LEAST_S = 2.0
LONGEST_BACK_OFF_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolLimits:
    """What bounds a pool.

    cards: slots in use at most. shard_deadline_s: fixed seconds an attempt may take, or None to learn it.
    start_deadline_s: seconds an actor may take to load its network and run it once.
    no_card_s: seconds without any usable card after which the job gives up. wait_for_cards: whether a card that
    another job holds is waited for.
    """

    cards: int | None = None
    shard_deadline_s: float | None = None
    start_deadline_s: float = 900.0
    no_card_s: float = 30.0
    wait_for_cards: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The end of a shard: the worker's result, or the reason why its one image is lost."""

    shard: Shard
    attempt: int
    result: Any = None
    lost: str | None = None


class WorkerPool:
    """Carries shards of images to cards and back.

    start_worker: makes the actor of a slot. It must have `describe()` (with a `warmup_ms`) and
    `process(images, attempt)`, and be pinned to its slot. load: the argument of `process` for a shard.
    discover: the slots there are at present. tell: takes a sentence for the user.
    """

    def __init__(
        self,
        *,
        start_worker: Callable[[CardSlot], Any],
        load: Callable[[Shard], Any],
        discover: Callable[[], Iterable[CardSlot]],
        limits: PoolLimits,
        tell: Callable[[str], None],
    ) -> None:
        self._start_worker = start_worker
        self._load = load
        self._discover = discover
        self._limits = limits
        self._tell = tell
        self._slots: dict[CardSlot, SlotState] = {}
        self._queue: deque[Work] = deque()
        self._fresh: Iterator[Shard] = iter(())
        self._next_discovery_s = 0.0
        self._without_card_since_s: float | None = None

    @property
    def slots(self) -> list[SlotState]:
        """Every slot the pool has ever seen, with its account."""
        return list(self._slots.values())

    def run(self, shards: Iterable[Shard]) -> Iterator[Outcome]:
        """Yield each shard's outcome once, as it comes; a shard may come back in parts that cover it exactly.

        Raises RunError when no card is left.
        """
        self._fresh = iter(shards)
        try:
            while True:
                now = time.monotonic()
                self._look_for_cards(now)
                self._start_idle_slots(now)
                self._feed(now)
                if not self._work_is_left():
                    return
                self._check_that_a_card_is_left(now)
                yield from self._collect()
                yield from self._enforce_deadlines(time.monotonic())
        finally:
            self.close()

    def close(self) -> None:
        """End every actor."""
        for state in self._slots.values():
            self._stop(state)

    # Cards come and go.

    def _look_for_cards(self, now: float) -> None:
        if now < self._next_discovery_s:
            return
        self._next_discovery_s = now + DISCOVER_EVERY_S
        found = list(self._discover())
        for state in self._slots.values():
            state_is_gone = state.slot not in found
            if state_is_gone and not state.gone:
                self._tell(f"{state.slot} is gone: its node left the cluster")
                self._return_flights(state)
                self._stop(state)
            state.gone = state_is_gone
        for slot in found:
            in_use = sum(state.usable for state in self._slots.values())
            if slot not in self._slots and (self._limits.cards is None or in_use < self._limits.cards):
                self._slots[slot] = SlotState(slot=slot)

    def _start_idle_slots(self, now: float) -> None:
        for state in self._slots.values():
            if state.handle is not None or not state.usable or now < state.start_at_s:
                continue
            state.handle = self._start_worker(state.slot)
            state.ready_ref = state.handle.describe.remote()
            state.started_s = now

    def _check_that_a_card_is_left(self, now: float) -> None:
        if any(state.usable for state in self._slots.values()):
            self._without_card_since_s = None
            return
        if self._without_card_since_s is None:
            self._without_card_since_s = now
            self._next_discovery_s = now
        elif now - self._without_card_since_s > self._limits.no_card_s:
            errors = {state.last_error for state in self._slots.values() if state.last_error}
            reason = f": {'; '.join(sorted(errors))}" if errors else ""
            raise RunError(f"no card is left of {len(self._slots)}{reason}")

    # Work goes out.

    def _next_work(self, state: SlotState) -> Work | None:
        """The next work for a slot: fresh shards first, then what failed before, if possible on another card."""
        if (shard := next(self._fresh, None)) is not None:
            return Work(shard)
        others = [
            other for other in self._slots.values() if other.usable and other.ready and other is not state
        ]
        for position, work in enumerate(self._queue):
            may_run_here = state.slot not in work.failed_on or not others
            runs_alone = work.is_suspect and state.flights
            if may_run_here and not runs_alone:
                del self._queue[position]
                return work
        return None

    def _feed(self, now: float) -> None:
        # Breadth first: every card gets its first work before any gets its second.
        for depth in range(FLIGHTS_PER_CARD):
            for state in self._slots.values():
                if not state.ready or len(state.flights) > depth:
                    continue
                if any(flight.work.is_suspect for flight in state.flights):
                    continue
                work = self._next_work(state) or (self._straggler(state, now) if not state.flights else None)
                if work is not None:
                    self._launch(state, work, now)

    def _straggler(self, idle: SlotState, now: float) -> Work | None:
        """The slowest work under way elsewhere, to be run a second time: the first to end is taken."""
        oldest: tuple[float, Work] | None = None
        for state in self._slots.values():
            for flight in state.flights:
                if flight.work.done or self._copies(flight.work) > 1:
                    continue
                elapsed = now - flight.launched_s
                before = sum(
                    len(other.work.shard) for other in state.flights[: state.flights.index(flight) + 1]
                )
                expected = (idle.seconds_per_image or state.seconds_per_image) * before
                late = elapsed > max(STRAGGLER_LEAST_S, STRAGGLER_FACTOR * expected)
                if late and (oldest is None or elapsed > oldest[0]):
                    oldest = (elapsed, flight.work)
        return oldest[1] if oldest else None

    def _copies(self, work: Work) -> int:
        return sum(flight.work is work for state in self._slots.values() for flight in state.flights)

    def _launch(self, state: SlotState, work: Work, now: float) -> None:
        work.attempts += 1
        ref = state.handle.process.remote(self._load(work.shard), work.attempts)
        flight = Flight(work=work, attempt=work.attempts, ref=ref, launched_s=now)
        if not state.flights:
            flight.head_since_s = now
        state.flights.append(flight)

    def _work_is_left(self) -> bool:
        if self._queue or any(
            not flight.work.done for state in self._slots.values() for flight in state.flights
        ):
            return True
        shard = next(self._fresh, None)
        if shard is None:
            return False
        self._queue.append(Work(shard))
        return True

    # Results come in.

    def _collect(self) -> Iterator[Outcome]:
        owner: dict[Any, tuple[SlotState, Flight | None]] = {}
        for state in self._slots.values():
            if state.handle is not None and not state.ready:
                owner[state.ready_ref] = (state, None)
            owner.update({flight.ref: (state, flight) for flight in state.flights})
        if not owner:
            time.sleep(0.2)
            return
        first, _ = ray.wait(list(owner), num_returns=1, timeout=0.5)
        ended, _ = ray.wait(list(owner), num_returns=len(owner), timeout=0) if first else ([], [])
        for ref in ended:
            state, flight = owner[ref]
            if flight is None:
                self._take_ready(state, ref)
            elif flight in state.flights:  # not taken back meanwhile by a failure of its card
                yield from self._take_result(state, flight)

    def _take_ready(self, state: SlotState, ref: Any) -> None:
        if state.ready_ref is not ref:
            return
        try:
            info = ray.get(ref)
        except RayError as error:
            self._fail(state, _sentence(error))
            return
        state.ready = True
        state.info = info
        state.seconds_per_image = max(state.seconds_per_image, info.warmup_ms / 1000)

    def _take_result(self, state: SlotState, flight: Flight) -> Iterator[Outcome]:
        now = time.monotonic()
        try:
            result = ray.get(flight.ref)
        except RayTaskError as error:
            yield from self._attempt_failed(state, flight, _sentence(error), crashed=False)
            return
        except RayActorError as error:
            yield from self._attempt_failed(state, flight, _sentence(error), crashed=True)
            return
        state.flights.remove(flight)
        state.failures_in_a_row = 0
        if flight.head_since_s is not None:
            state.learn_speed(now - flight.head_since_s, len(flight.work.shard))
        self._promote(state, now)
        if not flight.work.done:
            flight.work.done = True
            yield Outcome(shard=flight.work.shard, attempt=flight.attempt, result=result)

    def _promote(self, state: SlotState, now: float) -> None:
        if state.flights and state.flights[0].head_since_s is None:
            state.flights[0].head_since_s = now

    # Things break.

    def _enforce_deadlines(self, now: float) -> Iterator[Outcome]:
        for state in self._slots.values():
            if state.handle is not None and not state.ready:
                self._check_start(state, now)
            elif state.flights and (head := state.flights[0]).head_since_s is not None:
                allowed = state.deadline_s(len(head.work.shard), self._limits.shard_deadline_s)
                if now - head.head_since_s > allowed:
                    reason = f"no answer within the shard's deadline of {allowed:.1f} s"
                    yield from self._attempt_failed(state, head, reason, crashed=True)

    def _check_start(self, state: SlotState, now: float) -> None:
        waited = now - state.started_s
        if waited > self._limits.start_deadline_s:
            self._fail(state, f"did not start within {self._limits.start_deadline_s:.0f} s")
        elif waited > TAKEN_AFTER_S and not state.told_waiting and _is_taken(state.slot):
            state.told_waiting = True
            if not self._limits.wait_for_cards:
                raise RunError(f"{state.slot} is taken by another job, and --no-wait is given")
            self._tell(f"{state.slot} is taken by another job: waiting for it")
        elif state.told_waiting and _is_taken(state.slot):
            state.started_s = now - TAKEN_AFTER_S  # the start deadline runs from when the card is free

    def _attempt_failed(
        self, state: SlotState, flight: Flight, reason: str, *, crashed: bool
    ) -> Iterator[Outcome]:
        """Blame one attempt; after a crash the others on the card are merely done again."""
        head = state.flights[0]
        blamed = head if crashed else flight
        state.flights.remove(blamed)
        work = blamed.work
        if not work.done:
            work.failed_on.append(state.slot)
            work.last_error = reason
            yield from self._try_again(work)
        if crashed or state.failures_in_a_row:
            self._fail(state, reason)
        else:  # the first refusal of a device that is still there: try it again as it is
            state.failures_in_a_row += 1
            state.failures += 1
            state.last_error = reason
            self._promote(state, time.monotonic())

    def _try_again(self, work: Work) -> Iterator[Outcome]:
        if self._copies(work):
            return  # another attempt at it is under way
        if len(work.shard) == 1:
            if len(work.failed_on) < ATTEMPTS_OF_ONE_IMAGE:
                self._queue.append(work)
                return
            work.done = True
            yield Outcome(shard=work.shard, attempt=work.attempts, lost=work.last_error)
        elif work.is_part or len(work.failed_on) >= ATTEMPTS_BEFORE_BISECTING:
            work.done = True
            for half in work.shard.halves():
                self._queue.append(
                    Work(half, attempts=work.attempts, is_part=True, last_error=work.last_error)
                )
        else:
            self._queue.append(work)

    def _fail(self, state: SlotState, reason: str) -> None:
        """Take the card's work back, end its actor, and start another after a pause, or none any more."""
        state.failures += 1
        state.failures_in_a_row += 1
        state.last_error = reason
        self._return_flights(state)
        self._stop(state)
        if state.failures_in_a_row >= FAILURES_BEFORE_QUARANTINE:
            state.quarantined = True
            self._tell(
                f"{state.slot} is quarantined after {state.failures_in_a_row} failures in a row: {reason}"
            )
            self._forgive_work_that_failed_on(state.slot)
            return
        pause = min(LONGEST_BACK_OFF_S, 0.5 * 2 ** (state.failures_in_a_row - 1))
        state.start_at_s = time.monotonic() + pause
        state.restarts += 1
        self._tell(f"{state.slot} failed ({reason}); starting it again")

    def _forgive_work_that_failed_on(self, slot: CardSlot) -> None:
        for work in self._queue:
            work.failed_on = [other for other in work.failed_on if other != slot]

    def _return_flights(self, state: SlotState) -> None:
        for flight in state.flights:
            if not flight.work.done and self._copies(flight.work) == 1:
                self._queue.append(flight.work)
        state.flights = []

    def _stop(self, state: SlotState) -> None:
        if state.handle is not None:
            ray.kill(state.handle)
        state.handle = None
        state.ready = False
        state.flights = []


def _is_taken(slot: CardSlot) -> bool:
    """Whether the slot's card is registered and not free at present."""
    if not slot.registered:
        return False
    free = available_resources_per_node().get(slot.node_id, {})
    return bool(free.get(f"{CARD_RESOURCE}_{slot.device_id}", 0.0) < 1.0)


def _sentence(error: BaseException) -> str:
    """The first meaningful line of what Ray wraps around an error."""
    cause = error.cause if isinstance(error, RayTaskError) and error.cause is not None else error
    if isinstance(cause, DeviceError):
        return str(cause)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0] if lines else 'no details'}"
