"""The cluster that `raysail detect` starts for itself: quiet, closed to strangers, and gone with its job."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.job_runs import (
    TINY_ONNX,
    assert_each_once,
    metrics,
    options_of,
    rows,
    run_job,
    start_job,
    wait_for_commits,
)
from tests.helpers.processes import HANG_S, command_of, processes_with, start_process


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home of its own, by which the processes of this run are known."""
    home = tmp_path / "home-of-this-run"
    home.mkdir()
    cleared = {name: "" for name in os.environ if name.startswith("RAY_")}
    return {**cleared, "HOME": str(home)}


def test_a_stranger_cannot_join_and_nothing_is_left_behind(
    pictures: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    run = tmp_path / "run"
    options = {"images": pictures, "device": "timed", "service-ms": 4000, "shard-size": 1, "output": run}
    process = start_job(*options_of(options), environment=environment)
    try:
        wait_for_commits(run, 1, process)
        address = gcs_address(environment["HOME"])
        said = tmp_path / "said"
        with said.open("w", encoding="utf-8") as file:
            stranger = start_process(
                [
                    sys.executable,
                    "-c",
                    f"import ray; ray.init(address={address!r}); print('JOINED', ray.nodes(), flush=True)",
                ],
                folder=tmp_path,
                environment={
                    **os.environ,
                    "RAY_AUTH_MODE": "disabled",
                    "RAY_AUTH_TOKEN_PATH": "",
                    "HOME": str(tmp_path),
                },
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        # Ray goes on trying for minutes; that its first tries are refused is enough.
        deadline = time.monotonic() + HANG_S
        while "Unauthenticated" not in (text := said.read_text(encoding="utf-8")):
            assert time.monotonic() < deadline, text
            assert stranger.poll() is None, text
            time.sleep(0.2)
        assert "JOINED" not in text
        assert process.poll() is None, "the run was not disturbed"
    finally:
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        out, err = process.communicate(timeout=HANG_S)
    assert time.monotonic() - asked < 5
    assert process.returncode == 1
    assert out == ""
    assert "--resume goes on" in err
    assert_no_process_is_left(environment["HOME"])


def test_a_killed_driver_leaves_no_process(
    pictures: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    run = tmp_path / "run"
    options = {"images": pictures, "device": "timed", "service-ms": 1500, "shard-size": 1, "output": run}
    process = start_job(*options_of(options), environment=environment)
    wait_for_commits(run, 1, process)
    process.kill()
    process.communicate()
    assert_no_process_is_left(environment["HOME"])


def test_a_small_job_is_quick_and_its_output_clean(
    pictures: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    run = tmp_path / "run"
    options = {"images": pictures, "model": TINY_ONNX, "limit": 8, "output": run}
    done = run_job(*options_of(options), environment=environment)
    assert done.returncode == 0, done.stderr
    assert_each_once(run, 8)
    assert re.fullmatch(r"(\d+ of 8 images, [\d.]+ images/s\n)+", done.stderr), done.stderr
    assert done.stdout.startswith("Images")
    # The run begins before its cluster starts, which takes a second at least, and detection after that.
    last_s = max(rows(run, "images").column("finished_ms").to_pylist()) / 1000
    assert last_s - metrics(run)["time"]["detect_s"] > 0.5


def gcs_address(home: str) -> str:
    """Where the run's own head listens, from the command line of its processes."""
    for pid in processes_with(f"HOME={home}"):
        if match := re.search(r"--gcs[-_]address=([\d.]+:\d+)", command_of(pid)):
            return match[1]
    raise AssertionError("no process of the run names its head")


def assert_no_process_is_left(home: str) -> None:
    # Ray's agent tries for a minute to tell a head that died with the driver that the node has died.
    deadline = time.monotonic() + HANG_S
    while left := processes_with(f"HOME={home}"):
        assert time.monotonic() < deadline, [command_of(pid)[:200] for pid in left]
        time.sleep(0.2)
