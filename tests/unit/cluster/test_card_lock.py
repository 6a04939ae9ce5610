"""A card belongs to one process of the host: others are refused, and told whose it is."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bmodel.errors import CardTakenError, DeviceError
from cluster.cards.card_lock import CardLock, holder_named_by, lock_holder, real_card_lock_path
from tests.helpers.other_process import another_process
from tests.helpers.paths import ROOT

NOBODY = 65534
HOLD = """
import os, sys
from pathlib import Path
from cluster.cards.card_lock import CardLock
os.umask(0o077)
os.setuid(int(sys.argv[2]))
lock = CardLock(Path(sys.argv[1]), wait_s=0)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_that_another_process_holds_names_it(tmp_path: Path) -> None:
    path = tmp_path / "cards" / "bm1684-0.lock"
    with another_process(HOLD, path) as process:
        with pytest.raises(
            CardTakenError, match=rf"must be free, and process {process.pid} on \S+ holds it"
        ) as refusal:
            CardLock(path, wait_s=0)
        assert holder_named_by(refusal.value) == lock_holder(path)
        assert str(lock_holder(path)).startswith(f"process {process.pid} on ")
    # Killed by SIGKILL: the lock went with its process.
    assert lock_holder(path) is None
    mine = CardLock(path, wait_s=0)
    assert str(lock_holder(path)).startswith(f"process {os.getpid()} on ")
    mine.release()
    mine.release()
    assert lock_holder(path) is None


def test_a_card_that_was_never_locked_has_no_holder(tmp_path: Path) -> None:
    assert lock_holder(tmp_path / "bm1684-0.lock") is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_every_user_of_the_host_meets_the_same_lock() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        cards = Path(folder) / "cards"
        theirs, mine = cards / "bm1684-0.lock", cards / "bm1684-1.lock"
        before = os.umask(0o077)
        try:
            CardLock(mine, wait_s=0).release()
        finally:
            os.umask(before)
        assert stat.S_IMODE(cards.stat().st_mode) == 0o1777
        for path in (theirs, mine):
            with another_process(HOLD, path, user=NOBODY) as process:
                with pytest.raises(DeviceError, match=f"process {process.pid} on"):
                    CardLock(path, wait_s=0)
            CardLock(path, wait_s=0).release()


def test_a_link_in_the_locks_place_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "precious"
    victim.write_text("kept", encoding="utf-8")
    link = tmp_path / "bm1684-0.lock"
    link.symlink_to(victim)
    with pytest.raises(DeviceError, match=r"bm1684-0.lock' cannot be opened") as refusal:
        CardLock(link, wait_s=0)
    assert not isinstance(refusal.value, CardTakenError), "nobody has it, so nobody is waited for"
    assert victim.read_text(encoding="utf-8") == "kept"


def test_a_temporary_folder_of_ones_own_is_no_way_round_the_lock(tmp_path: Path) -> None:
    program = "from cluster.cards.card_lock import real_card_lock_path; print(real_card_lock_path(3))"
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.strip() == str(real_card_lock_path(3))
