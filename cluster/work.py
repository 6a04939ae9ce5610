"""What the pool keeps account of: work, attempts under way, and the state of each card slot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cluster.cards import CardSlot

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
class SlotState:
    """A card slot as the pool sees it; times are monotonic seconds.

    info: what its last worker said of itself. other_users: who shared the card when a worker of it was ready, of all
    its workers. pids: its own workers' processes, as far as they got. held_by: who had its lock at the last try, until
    the next. on_probe: whether it has failed so often that it must show first that it can still do what was done
    before.
    """

    slot: CardSlot
    handle: Any = None
    ready_ref: Any = None
    ready: bool = False
    info: Any = None
    other_users: list[str] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)
    held_by: str = ""
    flights: list[Flight] = field(default_factory=list)
    failures_in_a_row: int = 0
    failures: int = 0
    restarts: int = 0
    start_at_s: float = 0.0
    started_s: float = 0.0
    ask_at_s: float = 0.0
    on_probe: bool = False
    quarantined: bool = False
    gone: bool = False
    seconds_per_image: float = 0.0
    told_simulator: bool = False
    last_error: str = ""

    @property
    def usable(self) -> bool:
        """Whether the slot works or may still come to work."""
        return not self.quarantined and not self.gone

    def learn_speed(self, seconds: float, image_count: int) -> None:
        """Take a finished attempt into the moving average of wall seconds an image."""
        measured = seconds / image_count
        if self.seconds_per_image == 0.0:
            self.seconds_per_image = measured
        self.seconds_per_image += SMOOTHING * (measured - self.seconds_per_image)

    def deadline_s(self, image_count: int, fixed_s: float | None) -> float:
        """Seconds an attempt may take once it is the oldest on its card: ten times what was measured, and 30."""
        if fixed_s is not None:
            return fixed_s
        return FIRST_DEADLINE_S + DEADLINE_FACTOR * self.seconds_per_image * image_count
