"""C: the cluster's nodes → the card slots that actors are pinned to.

A node that has cards registers, beside their count, one resource per card: {"bm1684": 2, "bm1684_0": 1, "bm1684_1": 1}.
The count alone does not tell an actor which card it got; the second resource does, and keeps two jobs from sharing a card.
A node whose cards are virtual ones, for devices that need none, says so by a third resource, "bm1684_virtual".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bmodel.errors import ConfigurationError

CARD_RESOURCE = "bm1684"
VIRTUAL_RESOURCE = "bm1684_virtual"
_ONE_CARD = re.compile(rf"{CARD_RESOURCE}_(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class CardSlot:
    """One card of one node.

    node_id: Ray's id of the node. host: its name, for people. device_id: the card's number on its host.
    registered: whether the node registered the card as a Ray resource; otherwise the slot is a virtual one that
    a job made up on a node without cards, and nothing keeps another job from doing the same.
    """

    node_id: str
    host: str
    device_id: int
    registered: bool = True

    def __post_init__(self) -> None:
        if self.device_id < 0:
            raise ValueError(f"device_id must be non-negative, got {self.device_id}")

    def __str__(self) -> str:
        return f"card {self.device_id} on {self.host} (node {self.node_id[:8]})"

    @property
    def resources(self) -> dict[str, float]:
        """What an actor on this card asks Ray for."""
        return {CARD_RESOURCE: 1, f"{CARD_RESOURCE}_{self.device_id}": 1} if self.registered else {}


def card_resources(device_ids: Iterable[int], *, virtual: bool) -> dict[str, float]:
    """The resources that a node with these cards registers."""
    ids = sorted(set(device_ids))
    one_each = {f"{CARD_RESOURCE}_{device_id}": 1.0 for device_id in ids}
    return {CARD_RESOURCE: float(len(ids)), **one_each, **({VIRTUAL_RESOURCE: 1.0} if virtual else {})}


def registered_slots(nodes: Iterable[Mapping[str, Any]], *, virtual: bool) -> list[CardSlot]:
    """The real or the virtual card slots of `ray.nodes()`, in an order that spreads neighbours over hosts."""
    slots = [
        CardSlot(node_id=node["NodeID"], host=node["NodeManagerHostname"], device_id=int(match[1]))
        for node in nodes
        if node["Alive"] and (VIRTUAL_RESOURCE in node["Resources"]) == virtual
        for resource in node["Resources"]
        if (match := _ONE_CARD.fullmatch(resource))
    ]
    return sorted(slots, key=lambda slot: (slot.device_id, slot.host, slot.node_id))


def virtual_slots(nodes: Iterable[Mapping[str, Any]], count: int) -> list[CardSlot]:
    """`count` made-up slots spread evenly over the living nodes, for devices that need no card."""
    alive = sorted((node for node in nodes if node["Alive"]), key=lambda node: str(node["NodeID"]))
    return [
        CardSlot(
            node_id=alive[number % len(alive)]["NodeID"],
            host=alive[number % len(alive)]["NodeManagerHostname"],
            device_id=number // len(alive),
            registered=False,
        )
        for number in range(count if alive else 0)
    ]


def choose_slots(
    nodes: Sequence[Mapping[str, Any]], *, cards: int | None, needs_card: bool
) -> list[CardSlot]:
    """The slots a job may use: real cards for a device that needs one, else registered virtual ones, else made-up ones.

    cards: the most the job will use; only made-up slots are limited by it here, the pool keeps to it otherwise.
    """
    if needs_card:
        return registered_slots(nodes, virtual=False)
    return registered_slots(nodes, virtual=True) or virtual_slots(nodes, cards or 1)


def card_numbers(text: str) -> tuple[int, ...]:
    """The numbers of `--exclude`, like 0,3; raises ConfigurationError."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigurationError(f"--exclude: must be card numbers with commas between, got '{text}'")
    return tuple(map(int, parts))
