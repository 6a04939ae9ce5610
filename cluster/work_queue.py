"""What is left to do, and what becomes of work that failed: again, in halves, or given up as one lost image."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from cluster.cards import CardSlot
from cluster.work import Shard, Work

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

    def forgive(self, slot: CardSlot) -> None:
        """Drop what was held against work by a card that turned out to be bad itself."""
        for work in list(self._suspects):
            work.failed_on = [other for other in work.failed_on if other != slot]
            if not work.is_suspect:
                self._suspects.remove(work)
                self._orphans.append(work)
