"""Queries the health of a job's cards: one actor per node, until one of its cards does not answer.

A driver may never answer, or may take the process down. All cards of that question are silent then,
and from then on each card of the node has its own actor, so that the card that fails is the one that is named.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.cards.card_slots import CardSlot
from cluster.cards.isolated_query import ANSWER_WITHIN_S, START_WITHIN_S
from cluster.health.card_health import HealthSampler, Sample

# Fewer silences than a card is named for: its neighbours have spoken again by then.
LATE_UNTIL_REPLACED = 2
# After so many samplers lost in a row a card is left alone for a while, longer each time: starting processes
# costs the run, and one that hangs in the driver may not even die.
LOST_UNTIL_PAUSED = 3
FIRST_PAUSE_ROUNDS, LONGEST_PAUSE_ROUNDS = 12, 768
# SAIL opens a card anew for each of the three figures of a sample, and before 3.9.1 it closes none: a sampler is
# replaced before its open files come near the usual limit of 1,024.
SAMPLES_OF_ONE_SAMPLER = 240

# A node and its one card that is asked alone, or None for all of them.
Key = tuple[str, "int | None"]


@dataclass(kw_only=True, slots=True)
class _Sampler:
    """An actor and its question, at most one at a time.

    started: Ray's word that its process runs, `runs` once that has come. since_s: of its start, on the monotonic
    clock. waits: for the answer to this question, in vain.
    """

    actor: Any
    started: Any
    since_s: float
    runs: bool = False
    samples: int = 0
    answer: Any = None
    device_ids: tuple[int, ...] = ()
    waits: int = 0


class HealthHosts:
    """The samplers of a job. Called from one thread.

    slots: the cards the job uses at present; nodes may come and go. samples_of_one: after so many, of however many
    cards, a sampler is replaced.
    """

    def __init__(
        self,
        slots: Callable[[], Iterable[CardSlot]],
        *,
        sampler_class: type = HealthSampler,
        samples_of_one: int = SAMPLES_OF_ONE_SAMPLER,
        answer_within_s: float = ANSWER_WITHIN_S,
        start_within_s: float = START_WITHIN_S,
    ) -> None:
        self._slots = slots
        self._class = sampler_class
        self._samples_of_one = samples_of_one
        self._answer_within_s = answer_within_s
        self._start_within_s = start_within_s
        self._samplers: dict[Key, _Sampler] = {}
        self._hosts: dict[str, str] = {}
        self._apart: set[str] = set()
        self._lost: dict[Key, int] = {}
        self._paused_until: dict[Key, int] = {}
        self._round = 0

    def ask(self) -> list[tuple[str, Sample]]:
        """The samples that have come in by now, each with its card's name, host/number as in the tables.

        A card whose answer is late, or took the sampler down, has a sample that says so, once a call.
        """
        self._round += 1
        for key, device_ids in self._questions().items():
            self._put(key, device_ids)
        asked = {sampler.answer: key for key, sampler in self._samplers.items() if sampler.answer is not None}
        if not asked:
            return []
        ran = {key for key in asked.values() if self._runs(key)}
        ended, late = ray.wait(list(asked), num_returns=len(asked), timeout=self._answer_within_s)
        found = [named for answer in ended for named in self._take(asked[answer])]
        return found + [named for answer in late for named in self._miss(asked[answer], ran)]

    def close(self) -> None:
        """End the samplers."""
        for sampler in self._samplers.values():
            ray.kill(sampler.actor)
        self._samplers.clear()

    def _questions(self) -> dict[Key, tuple[int, ...]]:
        cards: dict[Key, list[int]] = defaultdict(list)
        for slot in self._slots():
            self._hosts[slot.node_id] = slot.host
            alone = slot.device_id if slot.node_id in self._apart else None
            cards[slot.node_id, alone].append(slot.device_id)
        return {key: tuple(device_ids) for key, device_ids in cards.items()}

    def _put(self, key: Key, device_ids: tuple[int, ...]) -> None:
        if self._round < self._paused_until.get(key, 0):
            return
        if key not in self._samplers:
            self._samplers[key] = self._start(key[0])
        sampler = self._samplers[key]
        if sampler.answer is None:
            sampler.device_ids, sampler.waits = device_ids, 0
            sampler.answer = sampler.actor.sample.remote(device_ids)

    def _runs(self, key: Key) -> bool:
        sampler = self._samplers[key]
        sampler.runs = sampler.runs or bool(ray.wait([sampler.started], timeout=0)[0])
        return sampler.runs

    def _take(self, key: Key) -> list[tuple[str, Sample]]:
        sampler = self._samplers[key]
        try:
            samples: list[Sample] = ray.get(sampler.answer)
        except RayError as error:  # its node is gone, or the driver took the sampler down
            self._lose(key)
            return self._silent(key[0], sampler, f"the query of its state failed: {type(error).__name__}")
        sampler.answer = None
        sampler.samples += len(samples)
        self._lost.pop(key, None)
        if sampler.samples >= self._samples_of_one:
            ray.kill(self._samplers.pop(key).actor)
        # By the driver's clock: each host's own may be hours off.
        return [
            (f"{self._hosts[key[0]]}/{sample.device_id}", replace(sample, time_s=time.time()))
            for sample in samples
        ]

    def _miss(self, key: Key, ran: set[Key]) -> list[tuple[str, Sample]]:
        """What an answer that has not come says; ran: whose process was there for the whole of the wait."""
        sampler = self._samplers[key]
        if key not in ran:
            if self._runs(key) or time.monotonic() - sampler.since_s < self._start_within_s:
                return []
            self._lose(key)
            return self._silent(key[0], sampler, "the process that reads its state does not start")
        sampler.waits += 1
        if sampler.waits >= LATE_UNTIL_REPLACED:
            self._lose(key)
        return self._silent(key[0], sampler, f"no answer within {self._answer_within_s:g} s")

    def _silent(self, node_id: str, sampler: _Sampler, error: str) -> list[tuple[str, Sample]]:
        return [
            (
                f"{self._hosts[node_id]}/{device_id}",
                Sample(device_id=device_id, time_s=time.time(), health=None, error=error),
            )
            for device_id in sampler.device_ids
        ]

    def _lose(self, key: Key) -> None:
        node_id, alone = key
        ray.kill(self._samplers.pop(key).actor)
        if alone is None:
            self._apart.add(node_id)
            return
        lost = self._lost[key] = self._lost.get(key, 0) + 1
        if lost >= LOST_UNTIL_PAUSED:
            pause = min(FIRST_PAUSE_ROUNDS << min(lost - LOST_UNTIL_PAUSED, 6), LONGEST_PAUSE_ROUNDS)
            self._paused_until[key] = self._round + 1 + pause

    def _start(self, node_id: str) -> _Sampler:
        options = {
            "num_cpus": 0,
            "max_restarts": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False),
        }
        actor: Any = ray.remote(self._class).options(**options).remote(self._hosts[node_id])
        return _Sampler(actor=actor, started=actor.__ray_ready__.remote(), since_s=time.monotonic())
