"""Starts the actor of a card slot: pinned to its node and card, never restarted or retried by Ray."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.cards.card_slots import CardSlot
from cluster.pool.pool import FLIGHTS_PER_CARD
from cluster.pool.worker_protocol import Worker


def start_actor(worker_class: type[Worker], slot: CardSlot, *arguments: object) -> Any:
    """Start `worker_class(slot, *arguments)` as an actor on its card; returns Ray's handle at once.

    It asks for no CPU, so that more cards than cores start; it accepts as many calls at once as the pool has in flight.
    """
    return (
        ray.remote(worker_class)
        .options(
            num_cpus=0,
            resources=slot.resources,
            scheduling_strategy=NodeAffinitySchedulingStrategy(slot.node_id, soft=False),
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=FLIGHTS_PER_CARD + 1,
        )
        .remote(slot, *arguments)
    )
