"""Who has a card open: programs that know nothing of Raysail's lock are found by the card's device file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cluster.cards.card_users import card_users, open_card
from tests.helpers.other_process import OPEN, another_process


def folder_of(parent: Path, *names: str) -> Path:
    parent.mkdir(exist_ok=True)
    for name in names:
        (parent / name).touch()
    return parent


def test_programs_that_know_no_lock_are_found_by_their_open_file(tmp_path: Path) -> None:
    devices = folder_of(tmp_path, "bm-sophon0", "bm-sophon1", "bmdev-ctl")
    assert open_card(0, device_folder=devices) == []
    with (
        another_process(OPEN, devices / "bm-sophon0") as process,
        another_process(OPEN, devices / "bmdev-ctl"),
        (devices / "bm-sophon0").open() as own,
    ):
        [user] = open_card(0, device_folder=devices)
        assert user.pid == process.pid
        assert str(user).startswith(f"process {process.pid} (")
        assert Path(f"/proc/{process.pid}/comm").read_text().strip() == user.name
        assert open_card(1, device_folder=devices) == []
        assert not own.closed
        assert str(user) in card_users(0, device_folder=devices)
    assert open_card(0, device_folder=devices) == []


def test_several_users_come_in_order_and_one_of_another_card_is_left_out(tmp_path: Path) -> None:
    devices = folder_of(tmp_path, "bm-sophon1", "bm-sophon11")
    with (
        another_process(OPEN, devices / "bm-sophon1") as first,
        another_process(OPEN, devices / "bm-sophon11"),
        another_process(OPEN, devices / "bm-sophon1") as second,
    ):
        found = [user.pid for user in open_card(1, device_folder=devices)]
    assert found == sorted((first.pid, second.pid))


def test_an_actor_that_only_asks_a_card_for_its_state_is_no_user(tmp_path: Path) -> None:
    devices = folder_of(tmp_path, "bm-sophon0")
    with another_process(OPEN, devices / "bm-sophon0", name="ray::HealthSampler.sample"):
        assert open_card(0, device_folder=devices) == []
    with another_process(OPEN, devices / "bm-sophon0", name="ray::CardWorker") as worker:
        assert [user.pid for user in open_card(0, device_folder=devices)] == [worker.pid]


def test_a_file_that_is_closed_while_the_list_is_read_hides_no_other(tmp_path: Path) -> None:
    devices = folder_of(tmp_path / "dev", "bm-sophon0")
    descriptors = tmp_path / "proc" / "4242" / "fd"
    descriptors.mkdir(parents=True)
    # What is no link can be read no more than one that is gone: it ends no list.
    folder_of(descriptors, *(str(number) for number in range(40)))
    (descriptors / "40").symlink_to(devices / "bm-sophon0")
    users = open_card(0, device_folder=devices, proc=tmp_path / "proc")
    assert [user.pid for user in users] == [4242]


def test_without_a_device_file_or_a_view_of_others_nothing_is_said(tmp_path: Path) -> None:
    devices = folder_of(tmp_path / "dev", "bm-sophon0")
    hidden = folder_of(tmp_path / "proc", "self")
    with another_process(OPEN, devices / "bm-sophon0"):
        assert open_card(7, device_folder=devices) == []
        assert open_card(0, device_folder=devices, proc=hidden) == []


def test_a_card_under_another_number_in_a_container_is_the_same_card(tmp_path: Path) -> None:
    here, there = folder_of(tmp_path / "here"), folder_of(tmp_path / "there")
    try:
        for path in (here / "bm-sophon3", there / "bm-sophon0"):
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        (there / "bm-sophon0").open().close()
    except OSError as error:
        pytest.skip(f"no device files can be made here: {error.strerror}")
    os.mknod(here / "bm-sophon4", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    with another_process(OPEN, there / "bm-sophon0") as process:
        assert [user.pid for user in open_card(3, device_folder=here)] == [process.pid]
        assert open_card(4, device_folder=here) == []
