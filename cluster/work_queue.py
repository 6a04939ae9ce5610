"""What is left to do, and what becomes of work that failed: again, in halves, or given up as one lost image."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from cluster.cards import CardSlot
from cluster.work import Shard, Work

ATTEMPTS_BEFORE_BISECTING = 2
ATTEMPTS_OF_ONE_IMAGE = 3


class WorkQueue:
    """Fresh shards in order, and behind them what came back.

    Work that failed once is a suspect: it runs alone on its card, so that blame is exact, and if possible on
    another card than before. A shard that failed twice is halved, and its halves again, until the one bad image
    is found.
    """

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._fresh = iter(shards)
        self._back: deque[Work] = deque()

    def is_empty(self) -> bool:
        """Whether nothing waits to be taken."""
        if self._back:
            return False
        shard = next(self._fresh, None)
        if shard is None:
            return True
        self._back.append(Work(shard))
        return False

    def take(self, slot: CardSlot, *, is_busy: bool, has_alternative: bool) -> Work | None:
        """The next work for a card.

        is_busy: whether it has work under way already. has_alternative: whether another card could take a suspect.
        """
        if (shard := next(self._fresh, None)) is not None:
            return Work(shard)
        for position, work in enumerate(self._back):
            elsewhere = slot in work.failed_on and has_alternative
            if not elsewhere and not (work.is_suspect and is_busy):
                del self._back[position]
                return work
        return None

    def give_back(self, work: Work) -> None:
        """Take work back that is not to blame for its end."""
        self._back.append(work)

    def failed(self, work: Work, slot: CardSlot, reason: str) -> Work | None:
        """Take failed work back, whole or in halves; returns it when it is one image that is given up."""
        work.failed_on.append(slot)
        work.last_error = reason
        if len(work.shard) == 1:
            if len(work.failed_on) >= ATTEMPTS_OF_ONE_IMAGE:
                work.done = True
                return work
            self._back.append(work)
        elif work.is_part or len(work.failed_on) >= ATTEMPTS_BEFORE_BISECTING:
            work.done = True
            self._back.extend(
                Work(half, attempts=work.attempts, is_part=True, last_error=reason)
                for half in work.shard.halves()
            )
        else:
            self._back.append(work)
        return None

    def forgive(self, slot: CardSlot) -> None:
        """Drop what was held against work by a card that turned out to be bad itself."""
        for work in self._back:
            work.failed_on = [other for other in work.failed_on if other != slot]
