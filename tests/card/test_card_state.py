"""What a real card tells of itself, and who has it. How to run it: docs/devices.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bmodel.errors import DeviceError, LibraryError
from cluster.cards.card_lock import CardLock, lock_holder, real_card_lock_path
from cluster.cards.card_users import open_card
from cluster.cards.isolated_query import read_card
from cluster.health.card_health import FAULTY_CELSIUS, ReadCard
from tests.card.cases import HOLD_CARD, any_case, need_device_file
from tests.helpers.other_process import another_process
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tpu_worker.devices import libsophon, sail

pytestmark = pytest.mark.card


def own_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("read", [sail.read_health, libsophon.read_health], ids=["sail", "libsophon"])
def test_a_card_tells_a_state_that_can_be(read: ReadCard, card_id: int) -> None:
    try:
        health = read(card_id)
    except LibraryError as error:
        pytest.skip(f"NO STATE: {error}")
    print(health)  # noqa: T201 - to be sent back
    assert 0 < health.board_temperature_c < FAULTY_CELSIUS
    assert 0 < health.chip_temperature_c < FAULTY_CELSIUS
    assert 0 <= health.memory_used_mb <= health.memory_total_mb
    assert health.memory_total_mb > 1000, "the unit must be MB"
    assert 0 <= health.utilisation_percent <= 100
    before = own_open_files()
    for _ in range(10):
        read(card_id)
    left = own_open_files() - before
    print(f"files left open by ten readings: {left}")  # noqa: T201 - to be sent back
    # A sampler is replaced in time for this many (cluster/health/health_hosts.py).
    assert left <= 30


def test_the_doctor_finds_the_card_in_order(card_id: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.command_line", "doctor", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    print(done.stdout)  # noqa: T201 - to be sent back
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["cards"]["status"] == "ok"
    try:
        read_card(card_id)
    except LibraryError:
        assert checks[f"card {card_id} state"]["status"] == "note"
    else:
        assert checks[f"card {card_id} state"]["status"] == "ok"


def test_a_card_belongs_to_one_process(card_id: int) -> None:
    path = real_card_lock_path(card_id)
    lock = CardLock(path)
    try:
        assert lock_holder(path) is not None
        with pytest.raises(DeviceError, match="holds it"):
            CardLock(path, wait_s=0)
    finally:
        lock.release()


def test_another_process_with_the_card_open_is_found(card_id: int) -> None:
    need_device_file(card_id)
    program = HOLD_CARD.format(case=any_case("tiny_fp32_1b", card_id))
    with another_process(program, ROOT) as other:
        assert other.pid in [user.pid for user in open_card(card_id)]
    assert other.pid not in [user.pid for user in open_card(card_id)]
