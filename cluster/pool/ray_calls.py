"""All that the pool asks of Ray and of the clock, behind one interface: its decisions are tested without a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import ray

from cluster.cards import placement
from cluster.cards.card_slots import CardSlot

# Ray's handle of an actor, and its reference to an answer that is still to come.
Handle = Any
Ref = Any


class ActorCalls(Protocol):
    """Calls to actors, and what the scheduler knows of their cards; times are seconds on the driver's monotonic clock."""

    def now(self) -> float:
        """The time."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def describe(self, worker: Handle) -> Ref:
        """Ask a worker what it says of itself; it answers when it is ready."""

    def process(self, worker: Handle, images: Sequence[Any], attempt: int, sent_s: float) -> Ref:
        """Give a worker a shard's images."""

    def ended(self, refs: Sequence[Ref], *, timeout_s: float) -> list[Ref]:
        """Wait for the first of some answers; returns all of them that are there then, none after timeout_s."""

    def answer(self, ref: Ref) -> Any:
        """An answer that has come; raises RayTaskError what the worker raised, RayError when the worker is dead."""

    def kill(self, worker: Handle) -> None:
        """End a worker's process."""

    def taken_slots(self, slots: Iterable[CardSlot]) -> set[CardSlot]:
        """Those of the slots whose card an actor holds at present, whoever's it is."""

    def holder_of(self, slot: CardSlot) -> str | None:
        """Whose actor has a card; None when no actor with a process has it, empty when that is not known."""

    def process_of(self, worker: Handle) -> int | None:
        """The number of a worker's process on its host; None while it waits for its card."""


class RayCalls:
    """The calls as Ray and this host's clock answer them; in a process that is connected to a cluster."""

    def now(self) -> float:
        """Seconds on the monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def describe(self, worker: Handle) -> Ref:
        """Ask a worker what it says of itself."""
        return worker.describe.remote()

    def process(self, worker: Handle, images: Sequence[Any], attempt: int, sent_s: float) -> Ref:
        """Give a worker a shard's images."""
        return worker.process.remote(images, attempt, sent_s)

    def ended(self, refs: Sequence[Ref], *, timeout_s: float) -> list[Ref]:
        """Wait for the first of some answers; returns all of them that are there then."""
        every = list(refs)
        first, _ = ray.wait(every, num_returns=1, timeout=timeout_s)
        return ray.wait(every, num_returns=len(every), timeout=0)[0] if first else []

    def answer(self, ref: Ref) -> Any:
        """An answer that has come, or its error."""
        return ray.get(ref)

    def kill(self, worker: Handle) -> None:
        """End a worker's process."""
        ray.kill(worker)

    def taken_slots(self, slots: Iterable[CardSlot]) -> set[CardSlot]:
        """Those of the slots whose card an actor holds."""
        return placement.taken_slots(slots)

    def holder_of(self, slot: CardSlot) -> str | None:
        """Whose actor has a card."""
        return placement.holder_of(slot)

    def process_of(self, worker: Handle) -> int | None:
        """The number of a worker's process."""
        return placement.process_of(worker)
