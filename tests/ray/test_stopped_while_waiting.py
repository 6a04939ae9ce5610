"""A job that waits for a taken card and is told to stop: it ends at once, in order, and goes on later."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cluster.cards.card_lock import real_card_lock_path
from tests.helpers.job_runs import (
    TINY_BMODEL,
    assert_each_once,
    commit_count,
    finished,
    metrics,
    options_of,
    start_job,
    wait_for_commits,
    write_pictures,
)
from tests.helpers.other_process import another_process
from tests.helpers.processes import HANG_S, command_of, processes_with, scaled_s
from tests.ray.conftest import CARDS, SharedCluster

IMAGES = 12
HOLD = """
import sys
from pathlib import Path
from cluster.cards.card_lock import CardLock
lock = CardLock(Path(sys.argv[1]), wait_s=120)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def waiting_job(options: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A job in a process group of its own, as a shell starts it, once it has said that it waits for its card."""
    process = start_job(*options, environment=environment, start_new_session=True)
    try:
        assert process.stderr is not None
        told = next((line for line in process.stderr if "is taken by another job" in line), "")
        assert told.endswith(": waiting for it\n"), told
        yield process
    finally:
        process.kill()
        process.communicate()


def terminate(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    """A terminal sends the signal to every process of the group, Ray's among them."""
    os.killpg(process.pid, signal.SIGINT)


def assert_ends_in_order(process: subprocess.Popen[str], run: Path, name: str) -> None:
    """Soon, with one line, and with nothing half written."""
    asked = time.monotonic()
    out, err = process.communicate(timeout=HANG_S)
    took_s = time.monotonic() - asked
    assert (process.returncode, out) == (1, "")
    assert err == f"raysail: stopped by {name}: {IMAGES} images are left in '{run}'; --resume goes on\n"
    # `ray job stop` kills what has not ended after three seconds; two for a machine that has much to do.
    assert took_s < scaled_s(5)
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    health = {name for name in files if name.startswith("health/part-")}
    assert files - health == {"run.json", "run.lock"}
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["image_count"] == IMAGES
    for name in health:
        assert pq.read_table(run / name).num_rows > 0


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("stop", "name"), [(terminate, "SIGTERM"), (press_ctrl_c, "SIGINT")], ids=["SIGTERM", "Ctrl-C"]
)
def test_a_job_of_its_own_host_ends_leaves_nobody_behind_and_resumes(
    stop: Callable[[subprocess.Popen[str]], None], name: str, sail_stand_in: dict[str, str], tmp_path: Path
) -> None:
    images, run = write_pictures(tmp_path / "images", IMAGES), tmp_path / "run"
    values = {"images": images, "device": "sail", "model": TINY_BMODEL, "shard-size": 1, "output": run}
    environment = {**sail_stand_in, "HOME": str(tmp_path)}
    with another_process(HOLD, real_card_lock_path(0)) as holder:
        with waiting_job(list(options_of(values)), environment) as job:
            stop(job)
            assert_ends_in_order(job, run, name)
        deadline = time.monotonic() + HANG_S  # Ray's agents may try for a minute to reach the head
        while left := processes_with(f"HOME={tmp_path}"):
            assert time.monotonic() < deadline, [command_of(pid)[:200] for pid in left]
            time.sleep(0.2)
        assert holder.poll() is None
    finished(*options_of(values), "--resume", environment=environment)
    assert_each_once(run, IMAGES)
    [card] = metrics(run)["cards"]
    assert card["failures"] == 0


def test_a_job_on_a_cluster_ends_and_the_one_that_has_the_cards_is_not_disturbed(
    cluster: SharedCluster, tmp_path: Path
) -> None:
    many = write_pictures(tmp_path / "many", 400)
    images = write_pictures(tmp_path / "images", IMAGES)
    first_run, run = tmp_path / "first", tmp_path / "run"
    common = {"device": "timed", "shard-size": 1, "address": cluster.address}
    slow = {**common, "images": many, "service-ms": 1000, "cards": CARDS, "output": first_run}
    quick = {**common, "images": images, "service-ms": 1, "cards": 1, "output": run}
    first = start_job(*options_of(slow), environment=cluster.environment)
    try:
        wait_for_commits(first_run, CARDS, first)
        with waiting_job(list(options_of(quick)), cluster.environment) as job:
            press_ctrl_c(job)
            assert_ends_in_order(job, run, "SIGINT")
        wait_for_commits(first_run, commit_count(first_run) + CARDS, first)
    finally:
        first.terminate()
        _, err = first.communicate(timeout=HANG_S)
    assert "failed" not in err, err
    finished(*options_of(quick), "--resume", environment=cluster.environment)
    assert_each_once(run, IMAGES)
