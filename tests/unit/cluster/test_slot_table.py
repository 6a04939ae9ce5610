"""Whose lock keeps a worker from its card: another job is waited for, a worker of one's own that hangs has failed."""

from __future__ import annotations

import pytest

from bmodel.errors import CardTakenError, DeviceError, RaysailError
from cluster.cards.card_slots import CardSlot
from cluster.cards.placement import holder_of
from cluster.pool.slot_phase import SlotPhase
from cluster.pool.slot_table import PoolLimits, SlotTable
from tests.helpers.scripted_ray import NEVER, ScriptedRay

SLOT = CardSlot(node_id="0" * 8, host="here", device_id=0)


def taken_by(pid: int) -> CardTakenError:
    return CardTakenError(f"card lock '/tmp/0.lock' must be free, and process {pid} on here holds it")


@pytest.mark.parametrize(
    ("error", "is_waited_for"),
    [
        (taken_by(7), False),
        (taken_by(77), True),
        (CardTakenError("worded otherwise"), True),
        (DeviceError("card 0 cannot load the network"), False),
        (None, False),
    ],
)
def test_only_another_jobs_card_is_waited_for(error: RaysailError | None, is_waited_for: bool) -> None:
    cluster = ScriptedRay(start_reply=lambda *_: NEVER)
    table = SlotTable(
        start_worker=cluster.start,
        discover=lambda: [SLOT],
        limits=PoolLimits(),
        tell=lambda _: None,
        calls=cluster,
    )
    table.refresh(0.0)
    [state] = table.states
    state.pids = {7}
    assert table.waits_for_other_job(state, error) == is_waited_for
    assert state.phase is (SlotPhase.HELD if is_waited_for else SlotPhase.STARTING)
    assert state.failures == 0


def test_a_holder_that_ray_does_not_tell_has_no_name() -> None:
    """There is no Ray here to ask, which raises an error of Ray's own."""
    assert holder_of(SLOT) == ""
