"""A stand-in for the cluster beneath a pool: workers that follow a script, on a clock that runs only while it is waited for.

What the pool sees is what Ray shows it: answers that come later, RayTaskError for what a worker raises, ActorDiedError
for the work of a dead one, and a constructor's error as text alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import ActorDiedError, RayTaskError

from bmodel.errors import RaysailError
from cluster.cards.card_slots import CardSlot
from cluster.pool.worker_protocol import WorkerInfo


def slots(count: int) -> list[CardSlot]:
    """The cards of a small cluster, each on a host of its own."""
    return [
        CardSlot(node_id=f"{number:08d}", host=f"host{number}", device_id=number) for number in range(count)
    ]


def died_starting(error: Exception) -> ActorDiedError:
    """The death of an actor whose constructor raised an error, as Ray tells it."""
    raised = f"{type(error).__module__}.{type(error).__name__}: {error}"
    traceback = f'ray::Worker.__init__() (pid=1, ip=192.0.2.2)\n  File "worker.py", line 1\n{raised}'
    return ActorDiedError(RayTaskError("__init__", traceback, ValueError(), actor_id="45ed"))  # type: ignore[no-untyped-call]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What a scripted worker sends back: its images' numbers and its card."""

    images: tuple[int, ...]
    device_id: int
    failed_count: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a worker does with a call.

    after_s: seconds until then. refuses: an error that it survives. dies: whether its process ends instead.
    """

    after_s: float = 0.01
    refuses: RaysailError | None = None
    dies: bool = False


NEVER = Reply(after_s=math.inf)


@dataclass(eq=False)
class Actor:
    """A worker's process. starts_s: when it gets its card. busy_until_s: when it has done what it was given."""

    slot: CardSlot
    pid: int
    starts_s: float
    busy_until_s: float
    is_dead: bool = False


@dataclass(eq=False)
class Answer:
    """An answer to come: its value, or its error."""

    actor: Actor
    ends_s: float
    value: Any


@dataclass(kw_only=True)
class ScriptedRay:
    """The cluster, as `ActorCalls`.

    process_reply: what a worker does with images, by slot, images, attempt and time.
    start_reply: what its constructor does, by slot and time.
    card_comes_after_s: seconds until a new worker gets its card.
    describe_as: fields of its WorkerInfo that differ from the usual.
    holder: who has the cards that are taken.
    queries: how often the scheduler was asked.
    sent_s: the time of the run that came with each call.
    """

    process_reply: Callable[[CardSlot, Sequence[int], int, float], Reply] = lambda *_: Reply()
    start_reply: Callable[[CardSlot, float], Reply] = lambda *_: Reply()
    card_comes_after_s: Callable[[CardSlot], float] = lambda _: 0.0
    describe_as: Callable[[CardSlot], dict[str, Any]] = lambda _: {}
    holder: str | None = None
    time_s: float = 0.0
    queries: int = 0
    sent_s: list[float] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)

    def start(self, slot: CardSlot) -> Actor:
        """Start a worker's process on a slot: the pool's `start_worker`."""
        starts_s = self.time_s + self.card_comes_after_s(slot)
        actor = Actor(slot=slot, pid=100 + len(self.actors), starts_s=starts_s, busy_until_s=starts_s)
        self.actors.append(actor)
        return actor

    def now(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds

    def describe(self, worker: Actor) -> Answer:
        reply = self.start_reply(worker.slot, self.time_s)
        said: dict[str, Any] = {"host": worker.slot.host, "lock": "", "load_ms": 1.0, "warmup_ms": 1.0}
        info = WorkerInfo(pid=worker.pid, **{**said, **self.describe_as(worker.slot)})
        error = died_starting(reply.refuses) if reply.refuses else None
        return self._answer(worker, reply, error or info)

    def process(self, worker: Actor, images: Sequence[int], attempt: int, sent_s: float) -> Answer:
        self.sent_s.append(sent_s)
        reply = self.process_reply(worker.slot, images, attempt, self.time_s)
        rows = Rows(images=tuple(images), device_id=worker.slot.device_id)
        error = RayTaskError("process", "", reply.refuses) if reply.refuses else None  # type: ignore[no-untyped-call]
        return self._answer(worker, reply, error or rows)

    def _answer(self, worker: Actor, reply: Reply, value: Any) -> Answer:
        if not worker.is_dead:
            worker.busy_until_s = max(worker.busy_until_s, self.time_s) + reply.after_s
        ends_s = self.time_s if worker.is_dead else worker.busy_until_s
        worker.is_dead = worker.is_dead or reply.dies
        return Answer(actor=worker, ends_s=ends_s, value=ActorDiedError() if worker.is_dead else value)

    def ended(self, refs: Sequence[Answer], *, timeout_s: float) -> list[Answer]:
        first_s = min(ref.ends_s for ref in refs)
        self.time_s = max(self.time_s, min(first_s, self.time_s + timeout_s))
        return [ref for ref in refs if ref.ends_s <= self.time_s]

    def answer(self, ref: Answer) -> Any:
        if isinstance(ref.value, Exception):
            raise ref.value
        return ref.value

    def kill(self, worker: Actor) -> None:
        worker.is_dead = True

    def taken_slots(self, slots: Iterable[CardSlot]) -> set[CardSlot]:
        self.queries += 1
        running = {actor.slot for actor in self.actors if not actor.is_dead and actor.starts_s <= self.time_s}
        waited = {actor.slot for actor in self.actors if not actor.is_dead and actor.starts_s > self.time_s}
        return {slot for slot in slots if slot in running | waited}

    def holder_of(self, slot: CardSlot) -> str | None:  # noqa: ARG002 - one holder has them all
        return self.holder

    def process_of(self, worker: Actor) -> int | None:
        self.queries += 1
        return worker.pid if worker.starts_s <= self.time_s else None
