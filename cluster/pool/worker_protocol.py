"""What the pool and a worker know of each other: the actor's methods, what it says of itself, what it sends back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerInfo:
    """What a worker says of itself once it is ready.

    host: its host's name.
    pid: its process there.
    lock: the path of its card's lock file, empty without one.
    load_ms: wall time of opening the device and loading the network.
    warmup_ms: wall time of the device's first run, one batch on a blank input.
    batch: images in that batch.
    other_users: the other processes that had its card open before it and still have, whoever started them.
    on_simulator: whether what passes for a card here is the chip simulator, so that its times are the CPU's.
    """

    host: str
    pid: int
    lock: str
    load_ms: float
    warmup_ms: float
    batch: int = 1
    other_users: tuple[str, ...] = ()
    on_simulator: bool = False


class Result(Protocol):
    """What a worker makes of a shard; the pool hands it on unread, but for one number."""

    @property
    def failed_count(self) -> int:
        """Images of the shard without detections because something failed."""


class Worker(Protocol):
    """The body of a card slot's actor."""

    def describe(self) -> WorkerInfo:
        """Answer as soon as the worker is ready."""

    def process(self, images: Any, attempt: int, sent_s: float, /) -> Result:
        """Do a shard's images; the attempt's number goes into their rows.

        sent_s: when the driver sent them, seconds since the run began.
        """
