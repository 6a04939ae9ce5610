"""Whose lock keeps a worker from its card: another job is waited for, a worker of one's own that hangs has failed."""

from __future__ import annotations

import pytest

from bmodel.errors import CardTakenError, DeviceError, RaysailError
from cluster.cards.card_slots import CardSlot
from cluster.cards.placement import holder_of
from cluster.pool.slot_table import PoolLimits, SlotTable
from cluster.pool.work import SlotState

SLOT = CardSlot(node_id="0" * 8, host="here", device_id=0)


def taken_by(pid: int) -> CardTakenError:
    return CardTakenError(f"card lock '/tmp/0.lock' must be free, and process {pid} on here holds it")


@pytest.mark.parametrize(
    ("error", "is_let_be"),
    [
        (taken_by(7), False),
        (taken_by(77), True),
        (CardTakenError("worded otherwise"), True),
        (DeviceError("card 0 cannot load the network"), False),
        (None, False),
    ],
)
def test_only_another_jobs_card_is_let_be(error: RaysailError | None, is_let_be: bool) -> None:
    table = SlotTable(
        start_worker=lambda _: None, discover=lambda: [SLOT], limits=PoolLimits(), tell=lambda _: None
    )
    state = SlotState(slot=SLOT, pids={7})
    assert table.let_be(state, error) == is_let_be
    assert bool(state.held_by) == is_let_be
    assert state.failures == 0


def test_a_holder_that_ray_does_not_tell_has_no_name() -> None:
    """There is no Ray here to ask, which raises an error of Ray's own."""
    assert holder_of(SLOT) == ""
