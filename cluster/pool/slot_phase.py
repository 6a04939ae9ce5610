"""The phases of a card slot, and the moves between them.

    free ──▶ starting ──ready──▶ working ──failure──▶ paused ──▶ starting …
                │    ╲
                │     ╲──ready after five failures in a row──▶ probing ──success──▶ working
                │                                                 │
                │                                                 └──failure──▶ quarantined, for good
                └──another job holds the lock──▶ held ──▶ starting …

A worker may fail before it is ready: starting ──▶ paused. Where no probe can tell whether the card or its work is to
blame, the fifth failure in a row ends a slot at once: starting or working ──▶ quarantined. A slot whose node left the
cluster is gone, wherever it stood, and free when it comes back; only quarantined is final. The end of a run ends every
worker: starting, working or probing ──▶ free.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class SlotPhase(Enum):
    """Where a card slot stands."""

    FREE = "free"
    STARTING = "starting"
    WORKING = "working"
    PROBING = "probing"
    PAUSED = "paused"
    HELD = "held"
    GONE = "gone"
    QUARANTINED = "quarantined"


_P = SlotPhase
# The phases that a slot may move to from each; the picture above, as data.
MOVES: Final[Mapping[SlotPhase, frozenset[SlotPhase]]] = {
    _P.FREE: frozenset({_P.STARTING, _P.GONE}),
    _P.STARTING: frozenset({_P.WORKING, _P.PROBING, _P.PAUSED, _P.HELD, _P.QUARANTINED, _P.GONE, _P.FREE}),
    _P.WORKING: frozenset({_P.PAUSED, _P.QUARANTINED, _P.GONE, _P.FREE}),
    _P.PROBING: frozenset({_P.WORKING, _P.QUARANTINED, _P.GONE, _P.FREE}),
    _P.PAUSED: frozenset({_P.STARTING, _P.GONE}),
    _P.HELD: frozenset({_P.STARTING, _P.GONE}),
    _P.GONE: frozenset({_P.FREE}),
    _P.QUARANTINED: frozenset(),
}
# With a worker's actor, and without one but on the way to the next.
WITH_WORKER: Final = frozenset({_P.STARTING, _P.WORKING, _P.PROBING})
STARTABLE: Final = frozenset({_P.FREE, _P.PAUSED, _P.HELD})


def check_move(before: SlotPhase, after: SlotPhase) -> None:
    """Raise RuntimeError, a defect of the pool, for a move that the picture does not have."""
    if after not in MOVES[before]:
        raise RuntimeError(f"a card slot must not move from {before.value} to {after.value}")
