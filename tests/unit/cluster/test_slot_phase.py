"""Every move between two phases of a card slot: those of the picture are made, all others refused by name."""

from __future__ import annotations

import itertools

import pytest

from cluster.cards.card_slots import CardSlot
from cluster.pool.slot_phase import MOVES, STARTABLE, WITH_WORKER, SlotPhase
from cluster.pool.work import SlotState

SLOT = CardSlot(node_id="0" * 8, host="here", device_id=0)
# As the picture in the module's docstring has them.
PICTURE = {
    "free": "starting gone",
    "starting": "working probing paused held quarantined gone free",
    "working": "paused quarantined gone free",
    "probing": "working quarantined gone free",
    "paused": "starting gone",
    "held": "starting gone",
    "gone": "free",
    "quarantined": "",
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(SlotPhase, SlotPhase)))
def test_a_slot_makes_the_moves_of_the_picture_and_no_others(before: SlotPhase, after: SlotPhase) -> None:
    state = SlotState(slot=SLOT, phase=before)
    if after.value in PICTURE[before.value].split():
        state.move_to(after)
        assert state.phase is after
    else:
        with pytest.raises(RuntimeError, match=f"must not move from {before.value} to {after.value}$"):
            state.move_to(after)
        assert state.phase is before


def test_every_phase_can_be_reached_and_only_quarantine_is_final() -> None:
    assert set(MOVES) == set(SlotPhase)
    assert set().union(*MOVES.values()) == set(SlotPhase)
    assert [phase for phase, moves in MOVES.items() if not moves] == [SlotPhase.QUARANTINED]


def test_a_worker_starts_only_where_there_is_none() -> None:
    assert not STARTABLE & WITH_WORKER
    assert {phase for phase, moves in MOVES.items() if SlotPhase.STARTING in moves} == STARTABLE
