"""A card that somebody else has: a second job waits and says so, or fails and says so; a held lock names its holder."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.cards.card_lock import lock_holder, real_card_lock_path
from tests.helpers.job_runs import (
    TINY_BMODEL,
    assert_each_once,
    commit_count,
    finished,
    metrics,
    options_of,
    run_job,
    start_job,
    wait_for_commits,
    write_pictures,
)
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tests.ray.conftest import CARDS, SharedCluster


def options(cluster: SharedCluster, images: Path, run: Path, **more: object) -> list[str]:
    values = {"images": images, "device": "timed", "shard-size": 1, "address": cluster.address, "output": run}
    return list(options_of({**values, **more}))


def lines_until(process: subprocess.Popen[str], words: str) -> list[str]:
    """The lines a job has written to standard error, up to one with these words."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line.rstrip("\n"))
        if words in line:
            return lines
    raise AssertionError(f"the job ended without '{words}': {lines}")


def test_a_second_job_waits_for_a_taken_card_or_fails_at_once(cluster: SharedCluster, tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "images", 150)
    first_run, second_run = tmp_path / "first", tmp_path / "second"
    slow = {"service-ms": 4000, "cards": CARDS}
    first = start_job(*options(cluster, images, first_run, **slow), environment=cluster.environment)
    second = None
    try:
        wait_for_commits(first_run, CARDS, first)
        one_card = {"service-ms": 1, "cards": 1, "limit": 4}
        second = start_job(*options(cluster, images, second_run, **one_card), environment=cluster.environment)
        refused = run_job(
            *options(cluster, images, tmp_path / "third", **one_card),
            "--no-wait",
            environment=cluster.environment,
        )
        assert refused.returncode == 1
        # The job by Ray's number of it, and its driver.
        holder = (
            rf"\(job [0-9a-f]{{8}}, its driver process {first.pid} on {re.escape(socket.gethostname())}\)"
        )
        last = refused.stderr.splitlines()[-1]
        assert re.search(rf"is taken by another job {holder}, and --no-wait is given$", last), last
        assert refused.stderr.splitlines()[-1].startswith("raysail: card ")
        told = lines_until(second, "taken")
        assert re.search(rf"is taken by another job {holder}: waiting for it$", told[-1]), told[-1]
        assert "(node " in told[-1]
        # The first job is still at work on every card, and the second has done nothing.
        assert first.poll() is None
        assert second.poll() is None
        assert not (second_run / "commits.jsonl").exists()
        first.send_signal(signal.SIGTERM)
        out, err = first.communicate(timeout=HANG_S)
        assert first.returncode == 1, out + err
        _, err = second.communicate(timeout=HANG_S)
        assert second.returncode == 0, err
        assert err.count("is taken by another job") == 0, "said more than once"
    finally:
        for process in filter(None, (first, second)):
            process.kill()
            process.communicate()
    assert_each_once(second_run, 4)


def test_a_submitted_job_is_named_by_its_submission(
    cluster: SharedCluster, pictures: Path, tmp_path: Path
) -> None:
    def ray_job(*arguments: object) -> None:
        command = [Path(sys.executable).parent / "ray", "job", *arguments]
        environment = {**os.environ, **cluster.environment, "RAY_ADDRESS": cluster.jobs_url}
        done = subprocess.run(
            list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_S
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run, name = tmp_path / "run", "holds-every-card"
    images = write_pictures(tmp_path / "images", 150)
    slow = {"images": images, "device": "timed", "shard-size": 1, "service-ms": 4000, "cards": CARDS}
    detect = ("python", "-m", "jobs.detect", *options_of({**slow, "output": run}))
    ray_job("submit", "--no-wait", "--submission-id", name, "--working-dir", ".", "--", *detect)
    try:
        deadline = time.monotonic() + HANG_S
        while commit_count(run) < CARDS:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        refused = run_job(
            *options(cluster, pictures, tmp_path / "refused", **{"service-ms": 1, "cards": 1, "limit": 4}),
            "--no-wait",
            environment=cluster.environment,
        )
    finally:
        ray_job("stop", name)
    last = refused.stderr.splitlines()[-1]
    assert f"is taken by another job (job {name}, its driver process " in last


HOLD = """
import sys
from pathlib import Path
import ray
from cluster.cards.card_lock import CardLock, virtual_card_lock_path
from cluster.cards.card_slots import registered_slots
from cluster.connect import connected
with connected(sys.argv[1], local_resources={}):
    context = ray.get_runtime_context()
    node = registered_slots(ray.nodes(), virtual=True)[0].node_id
    session = Path(context.get_temp_dir()) / context.get_session_name()
lock = CardLock(virtual_card_lock_path(session, node, 0, job_id=None))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.simulator
def test_a_job_of_another_cluster_waits_for_the_card_too(
    sail_stand_in: dict[str, str], tmp_path: Path
) -> None:
    """Three plain jobs on a host of one card, each with a Ray of its own, as owners of a card start them."""
    images = write_pictures(tmp_path / "images", 3000)
    first_run, second_run = tmp_path / "first", tmp_path / "second"

    def job(run: Path, *more: object) -> subprocess.Popen[str]:
        values = {"images": images, "device": "sail", "model": TINY_BMODEL, "shard-size": 1, "output": run}
        return start_job(*options_of(values), *more, environment=sail_stand_in)

    jobs = [job(first_run)]
    try:
        wait_for_commits(first_run, 1, jobs[0])
        jobs += [job(second_run, "--limit", 4), job(tmp_path / "third", "--limit", 4, "--no-wait")]
        first, second, refused = jobs
        holder = str(lock_holder(real_card_lock_path(0)))
        taken = f"card 0 on {socket.gethostname()} (node "
        _, err = refused.communicate(timeout=HANG_S)
        assert refused.returncode == 1, err
        last = err.splitlines()[-1]
        assert last.startswith(f"raysail: {taken}"), last
        assert last.endswith(f") is taken by another job ({holder}), and --no-wait is given"), last
        told = lines_until(second, "taken")[-1]
        assert taken in told
        assert told.endswith(f") is taken by another job ({holder}): waiting for it"), told
        assert first.poll() is None
        assert second.poll() is None
        assert commit_count(second_run) == 0
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=HANG_S)
        _, err = second.communicate(timeout=HANG_S)
        assert second.returncode == 0, err
        assert "taken" not in err, "said more than once"
    finally:
        for process in jobs:
            process.kill()
            process.communicate()
    assert_each_once(second_run, 4)
    [card] = metrics(second_run)["cards"]
    assert card["failures"] == 0


def test_a_lock_held_outside_ray_is_named_and_the_other_cards_do_the_work(
    cluster: SharedCluster, pictures: Path, tmp_path: Path
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, cluster.address],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    run = tmp_path / "run"
    try:
        assert holder.stdout.readline() == "held\n"
        done = run_job(
            *options(cluster, pictures, run, **{"service-ms": 1500, "cards": CARDS}),
            environment=cluster.environment,
        )
    finally:
        holder.kill()
        holder.communicate()
    assert done.returncode == 0, done.stderr
    told = rf"is taken by another job \(process {holder.pid} on {re.escape(socket.gethostname())}\): waiting for it$"
    assert len(re.findall(told, done.stderr, re.MULTILINE)) == 1, done.stderr
    assert "failed" not in done.stderr
    assert "quarantined" not in done.stderr
    assert_each_once(run, 40)
    images = {card["card"].rpartition("/")[2]: card["images"] for card in metrics(run)["cards"]}
    assert images["0"] == 0
    assert images["1"] > 0
    assert images["2"] > 0
    # With its holder gone, the card works again.
    again = tmp_path / "again"
    finished(
        *options(cluster, pictures, again, **{"service-ms": 1, "cards": CARDS, "limit": 30}),
        environment=cluster.environment,
    )
    assert_each_once(again, 30)


def test_the_doctor_sees_the_cluster_its_cards_and_its_door(cluster: SharedCluster, tmp_path: Path) -> None:
    def doctor(**environment: str) -> tuple[int, dict[str, dict[str, str]]]:
        done = subprocess.run(
            [sys.executable, "-m", "jobs.command_line", "doctor", "--json", "--address", cluster.address],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )
        return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}

    code, checks = doctor()
    assert checks["Ray cluster"]["status"] == "ok", checks
    assert f"1 node(s), 0 cards, {CARDS} virtual ones, Ray 2." in checks["Ray cluster"]["found"]
    assert checks["Ray token"]["status"] == "ok"
    assert code == 0
    wrong = tmp_path / "token"
    wrong.write_text("f" * 64, encoding="utf-8")
    code, checks = doctor(RAY_AUTH_TOKEN_PATH=str(wrong))
    assert checks["Ray cluster"]["status"] == "fail"
    assert "RAY_AUTH_TOKEN_PATH" in checks["Ray cluster"]["hint"]
    assert code == 1
