"""Asks the hosts of a job's cards for their health: one actor a node, never two questions at once to any of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.cards import CardSlot
from cluster.health import HealthSampler, Sample

ANSWER_WITHIN_S = 4.0
# SAIL opens a card anew for each of the three figures of a sample, and before 3.9.1 it closes none: a sampler is
# replaced before its open files come near the usual limit of 1,024.
SAMPLES_OF_ONE_SAMPLER = 240


class HealthHosts:
    """The samplers of a job. Called from one thread.

    slots: the cards the job uses at present; nodes may come and go. samples_of_one: after so many, of however many
    cards, a host's sampler is replaced.
    """

    def __init__(
        self,
        slots: Callable[[], Iterable[CardSlot]],
        *,
        sampler_class: type = HealthSampler,
        samples_of_one: int = SAMPLES_OF_ONE_SAMPLER,
    ) -> None:
        self._slots = slots
        self._class = sampler_class
        self._samples_of_one = samples_of_one
        self._samples: Counter[str] = Counter()
        self._samplers: dict[str, Any] = {}
        self._pending: dict[str, Any] = {}
        self._hosts: dict[str, str] = {}

    def ask(self) -> list[tuple[str, Sample]]:
        """The samples that have come in by now, each with its card's name, host/number as in the tables."""
        cards: dict[str, list[int]] = defaultdict(list)
        for slot in self._slots():
            cards[slot.node_id].append(slot.device_id)
            self._hosts[slot.node_id] = slot.host
        for node_id, device_ids in cards.items():
            if node_id not in self._pending:
                self._pending[node_id] = self._sampler(node_id).sample.remote(device_ids)
        if not self._pending:
            return []
        references = {reference: node_id for node_id, reference in self._pending.items()}
        ended, _ = ray.wait(list(references), num_returns=len(references), timeout=ANSWER_WITHIN_S)
        return [named for reference in ended for named in self._take(references[reference])]

    def close(self) -> None:
        """End the samplers."""
        for sampler in self._samplers.values():
            ray.kill(sampler)
        self._samplers.clear()
        self._pending.clear()

    def _take(self, node_id: str) -> list[tuple[str, Sample]]:
        try:
            samples = ray.get(self._pending.pop(node_id))
        except RayError:  # its node is gone, or SAIL took the sampler down: the next question starts another
            self._forget(node_id)
            return []
        self._samples[node_id] += len(samples)
        if self._samples[node_id] >= self._samples_of_one:
            self._forget(node_id)
        return [(f"{self._hosts[node_id]}/{sample.device_id}", sample) for sample in samples]

    def _forget(self, node_id: str) -> None:
        ray.kill(self._samplers.pop(node_id))
        del self._samples[node_id]

    def _sampler(self, node_id: str) -> Any:
        if node_id not in self._samplers:
            self._samplers[node_id] = (
                ray.remote(self._class)
                .options(
                    num_cpus=0,
                    max_restarts=0,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
                )
                .remote(self._hosts[node_id])
            )
        return self._samplers[node_id]
