"""What the pool keeps account of: work, attempts under way, and the state of each card slot."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from cluster.cards.card_slots import CardSlot
from cluster.pool.slot_phase import SlotPhase, check_move
from cluster.pool.worker_protocol import WorkerInfo

FAILURES_BEFORE_QUARANTINE = 5
FIRST_DEADLINE_S = 30.0
DEADLINE_FACTOR = 10.0
SMOOTHING = 0.3


@dataclass(frozen=True, order=True, slots=True)
class Shard:
    """The images start … stop-1 of the run's list."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a shard must have 0 <= start < stop, got {self.start}, {self.stop}")

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def shard_id(self) -> str:
        """The name of the shard's files; sorts like the images."""
        return f"{self.start:010d}-{self.stop:010d}"

    def halves(self) -> tuple[Shard, Shard]:
        """The shard cut in two; it must hold at least two images."""
        middle = self.start + len(self) // 2
        return Shard(self.start, middle), Shard(middle, self.stop)


@dataclass(slots=True, eq=False)
class Work:
    """A shard that has to be done once, however many attempts that takes.

    is_part: whether it is a piece of a shard that failed. is_probe: done once already, and run again to see whether
    a card still works.
    """

    shard: Shard
    attempts: int = 0
    failed_on: list[CardSlot] = field(default_factory=list)
    last_error: str = ""
    done: bool = False
    is_part: bool = False
    is_probe: bool = False

    @property
    def is_suspect(self) -> bool:
        """Whether an attempt has failed already: then it runs alone on its card, so that blame is exact."""
        return bool(self.failed_on) or self.is_part


@dataclass(slots=True, eq=False)
class Flight:
    """One attempt under way; times are monotonic seconds.

    head_since_s: when it became the oldest on its card, None before.
    """

    work: Work
    attempt: int
    ref: Any
    launched_s: float
    head_since_s: float | None = None


@dataclass(slots=True, eq=False)
class StartedWorker:
    """A slot's actor from its start to its end; times are monotonic seconds.

    described: the answer it gives when it is ready. next_query_s: when the scheduler may next be asked whether it
    waits for its card. is_waiting: what the scheduler said last.
    """

    handle: Any
    described: Any
    started_s: float
    next_query_s: float = 0.0
    is_waiting: bool = False


@dataclass(slots=True, eq=False)
class SlotState:
    """A card slot as the pool sees it; times are monotonic seconds.

    phase: changed by `move_to` alone.
    worker: its actor, in the phases that have one.
    info: what its last worker said of itself.
    other_users: who shared the card when a worker of it was ready, of all its workers.
    pids: its own workers' processes, as far as they are known.
    flights: the attempts under way, oldest first.
    start_at_s: the earliest start of its next worker.
    """

    slot: CardSlot
    phase: SlotPhase = SlotPhase.FREE
    worker: StartedWorker | None = None
    info: WorkerInfo | None = None
    other_users: list[str] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)
    flights: list[Flight] = field(default_factory=list)
    failures_in_a_row: int = 0
    failures: int = 0
    restarts: int = 0
    start_at_s: float = 0.0
    seconds_per_image: float = 0.0
    last_error: str = ""

    def move_to(self, phase: SlotPhase) -> None:
        """Enter a phase; raises RuntimeError when the slot cannot come there from its own."""
        check_move(self.phase, phase)
        self.phase = phase

    @property
    def usable(self) -> bool:
        """Whether the slot works or may still come to work."""
        return self.phase not in {SlotPhase.QUARANTINED, SlotPhase.GONE}

    @property
    def ready(self) -> bool:
        """Whether its worker takes work."""
        return self.phase in {SlotPhase.WORKING, SlotPhase.PROBING}

    @property
    def quarantined(self) -> bool:
        """Whether it has failed for good."""
        return self.phase is SlotPhase.QUARANTINED

    @property
    def must_be_probed(self) -> bool:
        """Whether it failed so often in a row that its next worker must first repeat what succeeded before."""
        return self.failures_in_a_row >= FAILURES_BEFORE_QUARANTINE

    def learn_speed(self, seconds: float, image_count: int) -> None:
        """Take a finished attempt into the moving average of wall seconds per image."""
        measured = seconds / image_count
        if self.seconds_per_image == 0.0:
            self.seconds_per_image = measured
        self.seconds_per_image += SMOOTHING * (measured - self.seconds_per_image)

    def deadline_s(self, image_count: int, fixed_s: float | None) -> float:
        """Seconds an attempt may take once it is the oldest on its card: ten times what was measured, and 30."""
        if fixed_s is not None:
            return fixed_s
        return FIRST_DEADLINE_S + DEADLINE_FACTOR * self.seconds_per_image * image_count


ATTEMPTS_BEFORE_BISECTING = 2
ATTEMPTS_OF_ONE_IMAGE = 3


class WorkQueue:
    """First what came back without a fault of its own, then fresh shards in order, and suspects at the end.

    Work that failed once is a suspect: it runs alone on its card, so that blame is exact, and if possible on
    a card where it has not failed yet. A shard that failed twice is halved, and its halves again, until the one bad
    image is found.
    """

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._fresh = iter(shards)
        self._next = next(self._fresh, None)
        self._orphans: deque[Work] = deque()
        self._suspects: deque[Work] = deque()

    def is_empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return self._next is None and not self._orphans and not self._suspects

    def take(self, slot: CardSlot, *, is_busy: bool, others: Collection[CardSlot]) -> Work | None:
        """The next work for a card.

        is_busy: whether it has work under way already. others: the other cards that are at work, which may take a
        suspect that failed on this one.
        """
        if self._orphans:
            return self._orphans.popleft()
        if self._next is not None:
            shard, self._next = self._next, next(self._fresh, None)
            return Work(shard)
        if is_busy:
            return None
        for position, work in enumerate(self._suspects):
            if slot not in work.failed_on or all(other in work.failed_on for other in others):
                del self._suspects[position]
                return work
        return None

    def give_back(self, work: Work) -> None:
        """Take work back that is not to blame for its end."""
        (self._suspects if work.is_suspect else self._orphans).append(work)

    def failed(self, work: Work, slot: CardSlot, reason: str) -> Work | None:
        """Take failed work back, whole or in halves; returns it when it is one image that is given up."""
        work.failed_on.append(slot)
        work.last_error = reason
        if len(work.shard) == 1:
            if len(work.failed_on) >= ATTEMPTS_OF_ONE_IMAGE:
                work.done = True
                return work
            self._suspects.append(work)
        elif work.is_part or len(work.failed_on) >= ATTEMPTS_BEFORE_BISECTING:
            work.done = True
            self._suspects.extend(
                Work(half, attempts=work.attempts, is_part=True, last_error=reason)
                for half in work.shard.halves()
            )
        else:
            self._suspects.append(work)
        return None

    def forgive(self, slot: CardSlot, under_way: Iterable[Work]) -> None:
        """Drop what is held against work by a card that turned out to be bad itself.

        under_way: the work that is with other cards at present, which is cleared too.
        """
        for work in (*self._suspects, *under_way):
            work.failed_on = [other for other in work.failed_on if other != slot]
        cleared = [work for work in self._suspects if not work.is_suspect]
        self._suspects = deque(work for work in self._suspects if work.is_suspect)
        self._orphans.extend(cleared)
