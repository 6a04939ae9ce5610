"""What Ray knows of the places of actors: which cards are taken, and whether an actor got its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Ray has no public way to ask either without its dashboard.
from ray._private.state import actors, available_resources_per_node

from cluster.cards import CARD_RESOURCE, CardSlot


def taken_slots(slots: Iterable[CardSlot]) -> set[CardSlot]:
    """Those of the slots whose card is registered and held by an actor at present, whoever's it is."""
    free = available_resources_per_node()
    return {
        slot
        for slot in slots
        if slot.registered and free.get(slot.node_id, {}).get(f"{CARD_RESOURCE}_{slot.device_id}", 0.0) < 1.0
    }


def has_process(actor: Any) -> bool:
    """Whether an actor was given its resources and a process, be it ready or still loading."""
    return bool(actors(actor._actor_id.hex()).get("Pid"))  # noqa: SLF001 - a handle has no public id
