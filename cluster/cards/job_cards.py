"""C: which cards a job may use: what it asks its own local cluster to have, and what it finds at any moment."""

from __future__ import annotations

from dataclasses import dataclass, field

import ray

from cluster.cards.card_slots import CardSlot, card_resources, choose_slots, registered_slots


@dataclass(kw_only=True, slots=True)
class JobCards:
    """The cards that a job asks for.

    most: how many it uses at most; None for all there are, or one virtual card. needs_real: whether its device is
    a real card. of_host: the real cards of this host that it may use when it starts a cluster of its own.
    """

    most: int | None
    needs_real: bool
    of_host: tuple[int, ...] = ()
    _saw_registered: bool = field(default=False, init=False)

    def local_resources(self) -> dict[str, float]:
        """What the only node of a local cluster registers: this host's cards, or as many virtual ones as wanted."""
        if self.needs_real:
            return card_resources(self.of_host, virtual=False)
        return card_resources(range(self.most or 1), virtual=True)

    def discover(self) -> list[CardSlot]:
        """The slots that the cluster has at present.

        A job that began on registered cards and has lost them all gets none: made-up slots would move its work to
        hosts that were never meant for it.
        """
        found = choose_slots(ray.nodes(), cards=self.most, needs_card=self.needs_real)
        are_registered = any(slot.registered for slot in found)
        if self._saw_registered and not are_registered:
            return []
        self._saw_registered = self._saw_registered or are_registered
        return found

    def count(self) -> int:
        """How many of them the job will use; 1 where there is none as yet."""
        found = len(self.discover()) or 1
        return min(found, self.most or found)


def real_cards_of_cluster() -> int:
    """How many real cards the cluster has that this process is connected to."""
    return len(registered_slots(ray.nodes(), virtual=False))
