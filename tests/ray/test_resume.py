"""Whatever dies, and however often: each image exactly once, by the Parquet files alone."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.job_runs import (
    TINY_ONNX,
    assert_each_once,
    commit_count,
    findings,
    finished_here,
    options_of,
    run_here,
    run_job,
    start_job,
    wait_for_commits,
    write_pictures,
)
from tests.helpers.processes import HANG_S, scaled_s
from tests.ray.conftest import SharedCluster


def timed(images: Path, run: Path, cluster: SharedCluster, service_ms: int = 400) -> list[str]:
    """Options of a run that is under way for half a minute, or as fast as is asked for; it may go on at another pace."""
    return list(
        options_of(
            {
                "images": images,
                "model": TINY_ONNX,
                "device": "timed",
                "service-ms": service_ms,
                "shard-size": 4,
                "cards": 2,
                "output": run,
                "address": cluster.address,
            }
        )
    )


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("many"), 120)


def test_a_driver_killed_twice_ends_with_each_image_once(
    many: Path, cluster: SharedCluster, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options, fast = ([*timed(many, run, cluster, service_ms=ms), "--resume"] for ms in (400, 1))
    for commits in (3, 10):
        process = start_job(*options, environment=cluster.environment)
        wait_for_commits(run, commits, process)
        kill(process)
        assert commit_count(run) < 30, "it was killed in mid-run"
        assert not (run / "_SUCCESS").exists()
    finished_here(*fast)
    assert_each_once(run, 120)
    assert (run / "_SUCCESS").exists()
    finished_here(*timed(many, tmp_path / "whole", cluster, service_ms=1))
    assert findings(run) == findings(tmp_path / "whole")


@pytest.fixture(scope="module")
def stopped(
    many: Path, cluster: SharedCluster, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, float]:
    """A run that SIGTERM stopped in mid-run, what it said, and the seconds that it took to end."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    process = start_job(*timed(many, run, cluster), environment=cluster.environment)
    wait_for_commits(run, 3, process)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 1, err
    return run, err, time.monotonic() - asked


def test_sigterm_ends_a_run_in_time_and_says_how_to_go_on(stopped: tuple[Path, str, float]) -> None:
    run, err, seconds = stopped
    assert seconds < scaled_s(3)
    left = 120 - 4 * commit_count(run)
    assert 0 < left < 120
    assert f"{left} images are left" in err
    assert "--resume" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--conf", "0.3"], "conf was 0.001 and is now 0.3"),
        (["--limit", "50"], "images was 120 images"),
        (["--service-ms", "1", "--iou", "0.5"], "iou was 0.65 and is now 0.5"),
        (["--model", "models/tiny.onnx", "--device", "cpu"], "device was timed and is now cpu"),
    ],
)
def test_another_configuration_is_refused_by_name(
    many: Path, cluster: SharedCluster, stopped: tuple[Path, str, float], change: list[str], named: str
) -> None:
    options = timed(many, stopped[0], cluster)
    if "--device" in change:
        place = options.index("--device")
        del options[place : place + 4]
    before = commit_count(stopped[0])
    done = run_here("detect", *options, *change, "--resume")
    assert done.returncode != 0
    assert named in done.stderr
    assert commit_count(stopped[0]) == before


def test_another_model_of_the_same_shape_is_refused(
    many: Path, cluster: SharedCluster, stopped: tuple[Path, str, float], tmp_path: Path
) -> None:
    other = tmp_path / TINY_ONNX.name
    other.write_bytes(
        TINY_ONNX.read_bytes() + b"\x32\x00"
    )  # an empty doc string: the same network, another file
    sidecar = Path(f"{TINY_ONNX}.spec.json").read_text(encoding="utf-8")
    before, after = (hashlib.sha256(file.read_bytes()).hexdigest() for file in (TINY_ONNX, other))
    Path(f"{other}.spec.json").write_text(sidecar.replace(before, after), encoding="utf-8")
    done = run_here("detect", *timed(many, stopped[0], cluster), "--model", other, "--resume")
    assert done.returncode != 0
    assert f"model was {before[:8]}" in done.stderr


def test_another_image_list_is_refused(
    cluster: SharedCluster, stopped: tuple[Path, str, float], tmp_path: Path
) -> None:
    others = write_pictures(tmp_path / "others", 119)
    done = run_here("detect", *timed(others, stopped[0], cluster), "--resume")
    assert done.returncode != 0
    assert "images was 120 images" in done.stderr


def test_a_run_is_not_overwritten_without_resume(
    many: Path, cluster: SharedCluster, stopped: tuple[Path, str, float]
) -> None:
    done = run_here("detect", *timed(many, stopped[0], cluster))
    assert done.returncode == 2
    assert "--resume" in done.stderr


def test_a_second_driver_is_refused_while_the_first_lives_and_takes_over_when_it_is_dead(
    many: Path, cluster: SharedCluster, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options, fast = ([*timed(many, run, cluster, service_ms=ms), "--resume"] for ms in (400, 1))
    first = start_job(*options, environment=cluster.environment)
    try:
        wait_for_commits(run, 1, first)
        first.send_signal(signal.SIGSTOP)  # however slow the machine is, it cannot end before the second asks
        second = run_job(*options, environment=cluster.environment)
        assert second.returncode == 1
        assert f"process {first.pid}" in second.stderr
        assert first.poll() is None
        commits = commit_count(run)
        first.send_signal(signal.SIGCONT)
        wait_for_commits(run, commits + 1, first)  # the first one was not disturbed
    finally:
        kill(first)
    finished_here(*fast)
    assert_each_once(run, 120)


def test_damaged_and_missing_parts_are_done_again(many: Path, cluster: SharedCluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [*timed(many, run, cluster, service_ms=1), "--resume"]
    finished_here(*options)
    whole = findings(run)
    parts = sorted((run / "detections").glob("part-*.parquet"))
    parts[3].write_bytes(parts[3].read_bytes()[:-7])
    sorted((run / "images").glob("part-*.parquet"))[8].unlink()
    (run / "images" / "part-9999999999-9999999999.parquet").write_bytes(b"left by a dead driver")
    with (run / "commits.jsonl").open("ab") as commits:
        commits.write(b'{"start": 4, "stop"')
    done = run_here("detect", *options)
    assert done.returncode == 0, done.stderr
    assert "is damaged: its 4 images are done again" in done.stderr
    assert "is missing: its 4 images are done again" in done.stderr
    assert_each_once(run, 120)
    assert findings(run) == whole
    lines = [json.loads(line) for line in (run / "commits.jsonl").read_text().splitlines()]
    assert len(lines) == 30


def test_a_finished_run_is_not_done_again(many: Path, cluster: SharedCluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [*timed(many, run, cluster, service_ms=1), "--limit", "8", "--resume"]
    finished_here(*options)
    parts = {path: path.stat().st_mtime_ns for path in run.glob("*/part-*.parquet")}
    finished_here(*options)
    assert {path: path.stat().st_mtime_ns for path in run.glob("*/part-*.parquet")} == parts
    assert (run / "_SUCCESS").exists()
