"""One driver a run: the second is refused while the first lives, and takes over when it is dead, however it died."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bmodel.errors import RunError
from jobs.run.lock import run_lock
from jobs.run.store import LocalStore
from tests.helpers.paths import ROOT

HOLD = (
    "import sys\n"
    "from jobs.run.lock import run_lock\n"
    "from jobs.run.store import open_store\n"
    "with run_lock(open_store(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


@contextmanager
def other_driver(store: LocalStore) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, store.place],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_living_driver_is_named_and_a_killed_one_is_taken_over(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "run")
    with other_driver(store) as other:
        with pytest.raises(RunError, match=f"must have one driver, and process {other.pid} on"):
            with run_lock(store, wait_s=0):
                pytest.fail("two drivers on one run")
        assert other.poll() is None
        other.kill()
        other.wait()
        with run_lock(store):
            assert "process" in (store.folder / "run.lock").read_text(encoding="utf-8")


def test_a_driver_that_ended_in_good_order_leaves_the_run_free(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "run")
    for _ in range(2):
        with run_lock(store):
            pass
    with pytest.raises(ZeroDivisionError), run_lock(store):
        raise ZeroDivisionError
    with run_lock(store):
        pass


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    """Or a Ray process that outlives its driver would keep the run locked."""
    store = LocalStore(tmp_path / "run")
    with run_lock(store):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=False
        )
    try:
        with run_lock(store):
            assert child.poll() is None
    finally:
        child.kill()
        child.communicate()


def test_two_runs_do_not_disturb_each_other(tmp_path: Path) -> None:
    with run_lock(LocalStore(tmp_path / "one")), run_lock(LocalStore(tmp_path / "two")):
        pass
