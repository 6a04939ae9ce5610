"""The card slots of a job: found, started, failed, quarantined, gone (cluster/pool/slot_phase.py has the picture)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bmodel.errors import CardTakenError, RaysailError, RunError
from cluster.cards.card_lock import holder_named_by
from cluster.cards.card_slots import CardSlot
from cluster.pool.ray_calls import ActorCalls
from cluster.pool.slot_phase import STARTABLE, WITH_WORKER, SlotPhase
from cluster.pool.work import SlotState, StartedWorker, Work
from cluster.pool.worker_protocol import WorkerInfo

DISCOVER_EVERY_S = 5.0
LEAVE_AFTER_S = 4.0
TAKEN_AFTER_S = 10.0
TAKEN_PAUSE_S = 3.0
# After which a job that found a card's lock taken, and took another card, assumes that it may be free again.
HELD_FOR_S = 30.0
LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolLimits:
    """What bounds a pool.

    cards: slots in use at most. shard_deadline_s: fixed seconds an attempt may take, or None to learn it.
    start_deadline_s: seconds an actor may take to load its network and run it once.
    no_card_s: seconds without any usable card after which the job gives up. wait_for_cards: whether a card that
    another job holds is waited for. first_pause_s: before a failed card is started again; doubles each time.
    """

    cards: int | None = None
    shard_deadline_s: float | None = None
    start_deadline_s: float = 900.0
    no_card_s: float = 30.0
    wait_for_cards: bool = True
    first_pause_s: float = 0.5


@dataclass(frozen=True, slots=True)
class _Held:
    """Who had a card's lock at the last try, and when that was, monotonic seconds."""

    holder: str
    seen_s: float


class SlotTable:
    """Every slot the job has seen, with its worker and its account.

    start_worker, discover, tell: as in WorkerPool. calls: how actors are reached.
    """

    def __init__(
        self,
        *,
        start_worker: Callable[[CardSlot], Any],
        discover: Callable[[], Iterable[CardSlot]],
        limits: PoolLimits,
        tell: Callable[[str], None],
        calls: ActorCalls,
    ) -> None:
        self._start_worker = start_worker
        self._discover = discover
        self._limits = limits
        self._tell = tell
        self._calls = calls
        self._states: dict[CardSlot, SlotState] = {}
        self._present: frozenset[CardSlot] = frozenset()
        # Cards whose lock a process outside the cluster has.
        self._held: dict[CardSlot, _Held] = {}
        self._reported_waiting: set[CardSlot] = set()
        self._reported_simulator: set[CardSlot] = set()
        self._next_discovery_s = 0.0
        self._without_card_since_s: float | None = None
        self.first_start_s: float | None = None

    @property
    def states(self) -> list[SlotState]:
        """All slots, in the order they were found."""
        return list(self._states.values())

    @property
    def present(self) -> list[CardSlot]:
        """The slots whose node is in the cluster, quarantined ones too."""
        return [slot for slot in list(self._states) if slot in self._present]

    def refresh(self, now: float) -> list[Work]:
        """Look for cards that came or went, and start free ones; returns the work that a lost card leaves.

        Raises RunError when no card is left, or one is taken that is not to be waited for.
        """
        orphans: list[Work] = []
        if now >= self._next_discovery_s:
            self._next_discovery_s = now + DISCOVER_EVERY_S
            orphans = self._compare_with(list(self._discover()), now)
        for state in self._states.values():
            if state.phase is SlotPhase.HELD and state.slot not in self._reported_waiting:
                self._report_taken(state, self._held[state.slot].holder)
            if state.phase in STARTABLE and now >= state.start_at_s:
                self._start(state, now)
        self._check_that_a_card_is_left(now)
        return orphans

    def _start(self, state: SlotState, now: float) -> None:
        handle = self._start_worker(state.slot)
        state.worker = StartedWorker(handle=handle, described=self._calls.describe(handle), started_s=now)
        state.move_to(SlotPhase.STARTING)
        if self.first_start_s is None:
            self.first_start_s = now

    def _compare_with(self, found: list[CardSlot], now: float) -> list[Work]:
        orphans: list[Work] = []
        for state in self._states.values():
            if state.usable and state.slot not in found:
                self._tell(f"{state.slot} is gone: its node left the cluster")
                state.last_error = "its node left the cluster"
                orphans += self._end_worker(state, SlotPhase.GONE)
            elif state.phase is SlotPhase.GONE and state.slot in found:
                state.move_to(SlotPhase.FREE)
        self._present = frozenset(found)
        self._add([slot for slot in found if slot not in self._states], now)
        return orphans

    def _add(self, new: list[CardSlot], now: float) -> None:
        """Use new slots as far as the limit allows: free ones first, and instead of one that is waited for."""
        if not new:
            return
        taken = set[CardSlot]()
        if self._limits.cards is not None:
            held = {slot for slot, held in self._held.items() if now - held.seen_s < HELD_FOR_S}
            taken = self._calls.taken_slots(new) | held
        for slot in sorted(new, key=lambda slot: slot in taken):
            if self._has_room() or (slot not in taken and self._drop_one_that_waits(now)):
                self._states[slot] = SlotState(slot=slot)

    def _has_room(self) -> bool:
        in_use = sum(state.usable for state in self._states.values())
        return self._limits.cards is None or in_use < self._limits.cards

    def _drop_one_that_waits(self, now: float) -> bool:
        """Give up a card that another job was quicker to take; returns whether there was one."""
        for state in self._states.values():
            if state.phase is SlotPhase.HELD or self._starts_late(state, now):
                self._kill(state)
                del self._states[state.slot]
                return True
        return False

    def _starts_late(self, state: SlotState, now: float) -> bool:
        if state.phase is not SlotPhase.STARTING or state.worker is None:
            return False
        return now - state.worker.started_s > LEAVE_AFTER_S and self._waits_for_card(state)

    def _check_that_a_card_is_left(self, now: float) -> None:
        if any(state.usable for state in self._states.values()):
            self._without_card_since_s = None
            return
        if self._without_card_since_s is None:
            self._without_card_since_s = now
        # A lost node may come back; a card that was given up does not.
        all_given_up = bool(self._states) and all(state.quarantined for state in self._states.values())
        if all_given_up or now - self._without_card_since_s > self._limits.no_card_s:
            errors = sorted({state.last_error for state in self._states.values() if state.last_error})
            raise RunError(f"no card is left of {len(self._states)}: {'; '.join(errors) or 'none was found'}")

    def check_start(self, state: SlotState, now: float) -> str | None:
        """Why a starting slot has failed, if it has; raises RunError for a taken card that is not waited for."""
        worker = state.worker
        if worker is None:
            return None
        if now >= worker.next_query_s and now - worker.started_s >= TAKEN_AFTER_S:
            worker.next_query_s = now + TAKEN_PAUSE_S
            self._ask_whether_it_waits(state, worker)
        if worker.is_waiting and state.slot in self._reported_waiting:
            worker.started_s = now - TAKEN_AFTER_S  # the deadline runs from when the card is free
        elif now - worker.started_s > self._limits.start_deadline_s:
            if pid := self._calls.process_of(worker.handle):
                state.pids.add(pid)
            return f"it did not start within {self._limits.start_deadline_s:.0f} s"
        return None

    def _ask_whether_it_waits(self, state: SlotState, worker: StartedWorker) -> None:
        worker.is_waiting = self._waits_for_card(state)
        if not worker.is_waiting or state.slot in self._reported_waiting:
            return
        # On a busy host Ray takes as long to start a process: nobody else has the card then.
        if (holder := self._calls.holder_of(state.slot)) is not None:
            self._report_taken(state, holder)

    def _waits_for_card(self, state: SlotState) -> bool:
        """Whether a starting actor waits for its card; one that has it may take long to load its network."""
        if state.worker is None or not self._calls.taken_slots([state.slot]):
            return False
        return self._calls.process_of(state.worker.handle) is None

    def _report_taken(self, state: SlotState, holder: str) -> None:
        self._reported_waiting.add(state.slot)
        taken = f"{state.slot} is taken by another job" + (f" ({holder})" if holder else "")
        if not self._limits.wait_for_cards:
            raise RunError(f"{taken}, and --no-wait is given")
        self._tell(f"{taken}: waiting for it")

    def waits_for_other_job(self, state: SlotState, error: RaysailError | None) -> bool:
        """Hold a slot that did not start because another job's process has its lock; returns whether that is so.

        A worker of this job that does not end is no other job: its card has failed.
        """
        if not isinstance(error, CardTakenError):
            return False
        holder = holder_named_by(error)
        if any(holder.startswith(f"process {pid} on ") for pid in state.pids):
            return False
        now = self._calls.now()
        self._end_worker(state, SlotPhase.HELD)
        state.start_at_s = now + TAKEN_PAUSE_S
        self._held[state.slot] = _Held(holder, now)
        self._next_discovery_s = now  # another card may do instead: only if none does is this one reported
        return True

    def is_ready(self, state: SlotState, info: WorkerInfo) -> None:
        """Take a worker that is ready into account, and report once what makes the times of its card doubtful."""
        state.info = info
        state.move_to(SlotPhase.PROBING if state.must_be_probed else SlotPhase.WORKING)
        state.seconds_per_image = max(state.seconds_per_image, info.warmup_ms / 1000 / info.batch)
        self._reported_waiting.discard(state.slot)
        self._held.pop(state.slot, None)
        state.pids.add(info.pid)
        if info.on_simulator and state.slot not in self._reported_simulator:
            self._reported_simulator.add(state.slot)
            self._tell(f"{state.slot} is the chip simulator, not a card: its times are not the chip's")
        new = [user for user in info.other_users if user not in state.other_users]
        if new:
            state.other_users += new
            self._tell(f"{state.slot} is also used by {', '.join(new)}: its times may suffer")

    def succeeded(self, state: SlotState) -> None:
        """Note that a slot's worker has done a shard: what failed before counts no more."""
        state.failures_in_a_row = 0
        if state.phase is SlotPhase.PROBING:
            state.move_to(SlotPhase.WORKING)

    def fail(self, state: SlotState, reason: str, *, may_probe: bool) -> list[Work]:
        """End a slot's worker; another is started after a pause, or none any more. Returns the work it leaves.

        may_probe: whether the work may be to blame, and there is a probe that shows whether the card is.
        """
        was_probed = state.must_be_probed
        state.failures += 1
        state.failures_in_a_row += 1
        state.last_error = reason
        if state.must_be_probed and (was_probed or not may_probe):
            orphans = self._end_worker(state, SlotPhase.QUARANTINED)
            self._tell(
                f"{state.slot} is quarantined after {state.failures_in_a_row} failures in a row: {reason}"
            )
            return orphans
        orphans = self._end_worker(state, SlotPhase.PAUSED)
        pause_s = self._limits.first_pause_s * 2 ** (state.failures_in_a_row - 1)
        state.start_at_s = self._calls.now() + min(LONGEST_PAUSE_S, pause_s)
        state.restarts += 1
        self._tell(f"{state.slot} failed, and is started again: {reason}")
        return orphans

    def close(self) -> None:
        """End every worker."""
        for state in self._states.values():
            if state.phase in WITH_WORKER:
                self._end_worker(state, SlotPhase.FREE)

    def _end_worker(self, state: SlotState, phase: SlotPhase) -> list[Work]:
        """Kill a slot's actor, if it has one, on the way to a phase; returns the work that is under way nowhere else."""
        self._kill(state)
        state.move_to(phase)
        flights, state.flights = state.flights, []
        return [flight.work for flight in flights if not flight.work.done and not self.copies(flight.work)]

    def _kill(self, state: SlotState) -> None:
        if state.worker is not None:
            self._calls.kill(state.worker.handle)
            state.worker = None

    def copies(self, work: Work) -> int:
        """How many attempts at a work are under way."""
        return sum(flight.work is work for state in self._states.values() for flight in state.flights)
