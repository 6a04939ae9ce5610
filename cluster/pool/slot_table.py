"""The card slots of a job: found, started, failed, quarantined, gone.

free ──start──▶ starting ──ready──▶ working ──failure──▶ pauses, then starts again
                   │                                        │ five failures in a row
                   └────────── node lost ──▶ gone           ▼
                                                  probe ──failure──▶ quarantined
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import ray

from bmodel.errors import CardTakenError, RaysailError, RunError
from cluster.cards.card_lock import holder_told
from cluster.cards.card_slots import CardSlot
from cluster.cards.placement import holder_of, process_of, taken_slots
from cluster.pool.work import SlotState, Work

FAILURES_BEFORE_QUARANTINE = 5
DISCOVER_EVERY_S = 5.0
LEAVE_AFTER_S = 4.0
TAKEN_AFTER_S = 10.0
TAKEN_PAUSE_S = 3.0
# After which a job that found a card's lock taken, and took another card, thinks it may be free again.
TAKEN_FOR_S = 30.0
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


class SlotTable:
    """Every slot the job has seen, with its actor and its account."""

    def __init__(
        self,
        *,
        start_worker: Callable[[CardSlot], Any],
        discover: Callable[[], Iterable[CardSlot]],
        limits: PoolLimits,
        tell: Callable[[str], None],
    ) -> None:
        self._start_worker = start_worker
        self._discover = discover
        self._limits = limits
        self._tell = tell
        self._states: dict[CardSlot, SlotState] = {}
        # Cards whose lock a process outside the cluster had, and when that was seen last.
        self._held: dict[CardSlot, float] = {}
        self._told_waiting: set[CardSlot] = set()
        self._next_discovery_s = 0.0
        self._without_card_since_s: float | None = None

    @property
    def states(self) -> list[SlotState]:
        """All slots, in the order they were found."""
        return list(self._states.values())

    def refresh(self, now: float) -> list[Work]:
        """Look for cards that came or went, and start free ones; returns the work that a lost card leaves."""
        orphans: list[Work] = []
        if now >= self._next_discovery_s:
            self._next_discovery_s = now + DISCOVER_EVERY_S
            orphans = self._compare_with(list(self._discover()), now)
        for state in self._states.values():
            if state.held_by and state.usable and state.slot not in self._told_waiting:
                self._tell_taken(state, state.held_by)
            if state.handle is None and state.usable and now >= state.start_at_s:
                state.held_by = ""
                state.handle = self._start_worker(state.slot)
                state.ready_ref = state.handle.describe.remote()
                state.started_s = now
        self._check_that_a_card_is_left(now)
        return orphans

    def _compare_with(self, found: list[CardSlot], now: float) -> list[Work]:
        orphans: list[Work] = []
        for state in self._states.values():
            was_gone, state.gone = state.gone, state.slot not in found
            if state.gone and not was_gone:
                self._tell(f"{state.slot} is gone: its node left the cluster")
                state.last_error = "its node left the cluster"
                orphans += self._empty(state)
        self._take_in([slot for slot in found if slot not in self._states], now)
        return orphans

    def _take_in(self, new: list[CardSlot], now: float) -> None:
        """Use new slots as far as the limit allows: free ones first, and instead of one that is waited for."""
        if not new:
            return
        taken = set[CardSlot]()
        if self._limits.cards is not None:
            taken = taken_slots(new) | {slot for slot, s in self._held.items() if now - s < TAKEN_FOR_S}
        for slot in sorted(new, key=lambda slot: slot in taken):
            if self._has_room() or (slot not in taken and self._leave_one_that_waits(now)):
                self._states[slot] = SlotState(slot=slot)

    def _has_room(self) -> bool:
        in_use = sum(state.usable for state in self._states.values())
        return self._limits.cards is None or in_use < self._limits.cards

    def _leave_one_that_waits(self, now: float) -> bool:
        """Give up a card that another job was quicker to take; says whether there was one."""
        for state in self._states.values():
            is_late = state.handle is not None and not state.ready and now - state.started_s > LEAVE_AFTER_S
            is_held = bool(state.held_by) and state.usable
            if is_held or (is_late and _is_waiting(state)):
                self._empty(state)
                del self._states[state.slot]
                return True
        return False

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
        waited_s = now - state.started_s
        was_told = state.slot in self._told_waiting
        if was_told and _is_waiting(state):
            state.started_s = now - TAKEN_AFTER_S  # the deadline runs from when the card is free
        elif waited_s > self._limits.start_deadline_s:
            if pid := process_of(state.handle):
                state.pids.add(pid)
            return f"it did not start within {self._limits.start_deadline_s:.0f} s"
        elif waited_s > TAKEN_AFTER_S and not was_told and now >= state.ask_at_s and _is_waiting(state):
            state.ask_at_s = now + TAKEN_PAUSE_S
            # On a busy host Ray takes as long to start a process: nobody else has the card then.
            if (holder := holder_of(state.slot)) is not None:
                self._tell_taken(state, holder)
        return None

    def _tell_taken(self, state: SlotState, holder: str) -> None:
        self._told_waiting.add(state.slot)
        taken = f"{state.slot} is taken by another job" + (f" ({holder})" if holder else "")
        if not self._limits.wait_for_cards:
            raise RunError(f"{taken}, and --no-wait is given")
        self._tell(f"{taken}: waiting for it")

    def let_be(self, state: SlotState, error: RaysailError | None) -> bool:
        """Wait for the card if it did not start because another job's process has its lock; says whether that is so.

        A worker of this job that does not end is no other job: its card has failed.
        """
        if not isinstance(error, CardTakenError):
            return False
        holder = holder_told(error)
        if any(holder.startswith(f"process {pid} on ") for pid in state.pids):
            return False
        now = time.monotonic()
        self._empty(state)
        state.held_by = holder
        state.start_at_s = now + TAKEN_PAUSE_S
        self._held[state.slot] = now
        self._next_discovery_s = now  # another card may do instead: only if none does, is this one spoken of
        return True

    def tell_of_card(self, state: SlotState) -> None:
        """Say what makes the times of a card that is ready now doubtful, once of each."""
        self._told_waiting.discard(state.slot)
        self._held.pop(state.slot, None)
        state.pids.add(getattr(state.info, "pid", 0))
        if getattr(state.info, "on_simulator", False) and not state.told_simulator:
            state.told_simulator = True
            self._tell(f"{state.slot} is the chip simulator, not a card: its times are not the chip's")
        new = [user for user in getattr(state.info, "other_users", ()) if user not in state.other_users]
        if new:
            state.other_users += new
            self._tell(f"{state.slot} is also used by {', '.join(new)}: its times may suffer")

    def fail(self, state: SlotState, reason: str, *, may_probe: bool) -> list[Work]:
        """End a slot's actor; another is started after a pause, or none any more. Returns the work it leaves.

        may_probe: whether the work may be to blame, and there is a probe that shows whether the card is.
        """
        orphans = self._empty(state)
        state.failures += 1
        state.failures_in_a_row += 1
        state.last_error = reason
        is_over = state.failures_in_a_row >= FAILURES_BEFORE_QUARANTINE
        if is_over and may_probe and not state.on_probe:
            state.on_probe = True
        elif is_over:
            state.quarantined = True
            self._tell(
                f"{state.slot} is quarantined after {state.failures_in_a_row} failures in a row: {reason}"
            )
            return orphans
        pause_s = self._limits.first_pause_s * 2 ** (state.failures_in_a_row - 1)
        state.start_at_s = time.monotonic() + min(LONGEST_PAUSE_S, pause_s)
        state.restarts += 1
        self._tell(f"{state.slot} failed, and is started again: {reason}")
        return orphans

    def close(self) -> None:
        """End every actor."""
        for state in self._states.values():
            self._empty(state)

    def _empty(self, state: SlotState) -> list[Work]:
        """Kill the actor and take its flights; returns the work that is under way nowhere else."""
        if state.handle is not None:
            ray.kill(state.handle)
        flights, state.flights = state.flights, []
        state.handle, state.ready = None, False
        return [flight.work for flight in flights if not flight.work.done and not self.copies(flight.work)]

    def copies(self, work: Work) -> int:
        """How many attempts at a work are under way."""
        return sum(flight.work is work for state in self._states.values() for flight in state.flights)


def _is_waiting(state: SlotState) -> bool:
    """Whether a starting actor waits for its card; one that has it may be long at loading its network."""
    return bool(taken_slots([state.slot])) and process_of(state.handle) is None
