"""Failures one at a time: late duplicates, failing calls, a full disk, a jumping clock, kills over an object store."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cards.job_cards import JobCards
from cluster.pool.actors import start_actor
from cluster.pool.pool import Outcome, WorkerPool
from cluster.pool.results import ShardResult
from cluster.pool.slot_table import PoolLimits
from cluster.pool.work import Shard
from cluster.pool.worker import CardWorker, WorkerSettings
from jobs.inputs.images import list_images, make_shards
from jobs.run.commit import CommitLog
from jobs.run.store import LocalStore
from tests.helpers.job_runs import assert_each_once, commit_count, findings, rows, write_pictures
from tests.helpers.run_rows import refs
from tests.helpers.small_specs import head_spec
from tests.ray.chaos.card_cluster import CardCluster, card_cluster, wait_until
from tests.ray.chaos.killing_store import Moment, killing_store
from tests.ray.chaos.storm import end_of, start_driver
from tests.ray.chaos.workers import PatientWorker
from tpu_worker.detector import DetectOptions
from tpu_worker.devices import DeviceOptions, TimedOptions

IMAGES = 300
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


@pytest.fixture(scope="module")
def nodes() -> Iterator[CardCluster]:
    with card_cluster(hosts=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("failures"), IMAGES)


@pytest.fixture
def joined(nodes: CardCluster) -> Iterator[None]:
    """This very process is a driver."""
    import ray

    ray.init(address=nodes.address, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


def pool_of(
    start: Callable[[Any], Any], load: Callable[[Shard], Any], *, cards: int, told: list[str]
) -> WorkerPool[ShardResult]:
    limits = PoolLimits(cards=cards, shard_deadline_s=120)
    discover = JobCards(most=cards, needs_real=False).discover
    return WorkerPool(start_worker=start, load=load, discover=discover, limits=limits, tell=told.append)


def commit(outcomes: Iterator[Outcome[ShardResult]], log: CommitLog) -> list[Outcome[ShardResult]]:
    done = []
    for outcome in outcomes:
        assert outcome.result is not None
        assert log.add(outcome.shard, outcome.result, outcome.attempt) is not None
        done.append(outcome)
    return done


def test_an_attempt_that_ends_late_is_dropped(joined: None, tmp_path: Path) -> None:
    diary, told, pictures = tmp_path / "diary", list[str](), refs(60)
    # The first try of shard 0 ends when the second is committed, and shard 10 keeps the run going until then.
    first_is_over = (diary, "\n0 1 ")
    waits = {
        (0, 1): (tmp_path / "run" / "commits.jsonl", f'"{make_shards(60, 10)[0].shard_id}"'),
        **{(10, attempt): first_is_over for attempt in (1, 2)},
    }
    diary.write_text("\n", encoding="utf-8")
    pool = pool_of(
        lambda slot: start_actor(PatientWorker, slot, waits, diary),
        lambda shard: pictures[shard.start : shard.stop],
        cards=3,
        told=told,
    )
    log = CommitLog(LocalStore(tmp_path / "run"))
    outcomes = commit(pool.run(make_shards(60, 10)), log)
    assert sorted(outcome.shard for outcome in outcomes) == make_shards(60, 10)
    assert {outcome.attempt for outcome in outcomes if outcome.shard.start == 0} == {2}
    attempts = [tuple(map(int, line.split()))[:2] for line in diary.read_text().splitlines() if line]
    assert attempts.index((0, 2)) < attempts.index((0, 1)), "the first attempt came in second, and did come"
    assert_each_once(tmp_path / "run", 60)
    assert not any(state.failures for state in pool.slots), told


def test_a_card_that_fails_every_so_many_calls_loses_no_image(
    joined: None, images: Path, tmp_path: Path
) -> None:
    settings = WorkerSettings(
        device=DeviceOptions(
            name="timed",
            spec=head_spec(),
            model_path=None,
            timed=TimedOptions(service_ms=2, fail_every=23),
        ),
        detect=DetectOptions(),
    )
    pictures, told = list_images(str(images)), list[str]()
    pool = pool_of(
        lambda slot: start_actor(CardWorker, slot, settings),
        lambda shard: pictures.refs(shard.start, shard.stop),
        cards=2,
        told=told,
    )
    log = CommitLog(LocalStore(tmp_path / "run"))
    outcomes = commit(pool.run(make_shards(IMAGES, 10)), log)
    assert_each_once(tmp_path / "run", IMAGES)
    assert set(rows(tmp_path / "run", "images").column("status").to_pylist()) == {"ok"}
    assert sum(state.failures for state in pool.slots) >= IMAGES // 23 // 2
    assert max(outcome.attempt for outcome in outcomes) > 1
    assert not any(state.quarantined for state in pool.slots), told


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a file system")
def test_a_full_disk_ends_the_run_and_a_larger_one_lets_it_go_on(
    nodes: CardCluster, images: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192k", "none", run], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode()}")
    try:
        driver = start_driver(run, images=images, address=nodes.address, service_ms=2)
        said = end_of(driver)
        assert driver.returncode == 1, said
        [line] = [line for line in said.splitlines() if line.startswith("raysail: ")]
        assert "No space left on device" in line
        assert str(run) in line
        done = commit_count(run)
        assert 0 < done < IMAGES // 10
        assert not list(run.rglob("*.tmp")), "half a file is taken back"
        subprocess.run(["mount", "-o", "remount,size=16m", run], check=True)
        driver = start_driver(run, images=images, address=nodes.address, service_ms=2)
        said = end_of(driver)
        assert driver.returncode == 0, said
        assert "done again" not in said, "what was committed is whole"
        assert_each_once(run, IMAGES)
    finally:
        subprocess.run(["umount", run], check=True)


@pytest.mark.skipif(not FAKETIME, reason="faketime is not installed (Debian's package faketime)")
def test_a_clock_that_jumps_changes_nothing(nodes: CardCluster, images: Path, tmp_path: Path) -> None:
    run, clock = tmp_path / "run", tmp_path / "clock"
    clock.write_text("+0", encoding="utf-8")
    driver = start_driver(
        run,
        images=images,
        address=nodes.address,
        service_ms=40,
        # One card: no other one is idle near the end, to do again what a stalled machine makes late.
        more=["--shard-deadline", 60, "--cards", 1],
        environment={
            "LD_PRELOAD": str(FAKETIME[0]),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # as when an administrator sets the clock
        },
    )
    for commits, jump in ((3, "+2d"), (9, "-3d"), (15, "+1d")):
        wait_until(lambda least=commits: commit_count(run) >= least, 90, f"{commits} commits")  # type: ignore[misc]
        assert driver.poll() is None, end_of(driver)
        clock.write_text(jump, encoding="utf-8")
    said = end_of(driver)
    assert driver.returncode == 0, said
    assert_each_once(run, IMAGES)
    assert {row["status"] for row in findings(run)[0]} == {"ok"}
    assert "deadline" not in said
    assert set(rows(run, "images").column("attempt").to_pylist()) == {1}, "no shard was taken for late"


ORDERS: list[tuple[Moment, str, int]] = [
    ("after", "/images/part-", 4),
    ("after", "/detections/part-", 5),
    ("before", "/commits/", 3),
    ("after", "/commits/", 4),
]


def test_kills_at_every_stage_of_a_commit_over_an_object_store(
    nodes: CardCluster, images: Path, tmp_path: Path
) -> None:
    with killing_store() as (s3, hitman):
        left_behind = 0
        for order in [*ORDERS, None]:
            hitman.hire(order)
            driver = start_driver(
                s3.url("run"),
                images=images,
                address=nodes.address,
                service_ms=10,
            )
            hitman.victim = driver.pid
            said = end_of(driver)
            assert driver.returncode == (-signal.SIGKILL if order else 0), said
            committed = sum(key.endswith(".json") for key in s3.keys("run/commits/"))
            left_behind += len(s3.parts("run/images")) > committed
        assert hitman.kills == len(ORDERS)
        assert left_behind >= 2, "some kills fell between a part file and its commit"
        parts = {
            folder: [
                pq.read_table(pa.BufferReader(s3.get(f"run/{folder}/{key}")))
                for key in s3.parts(f"run/{folder}")
            ]
            for folder in ("images", "detections")
        }
        assert pa.concat_tables(parts["images"]).column("index").to_pylist() == list(range(IMAGES))
        found = pa.concat_tables(parts["detections"], promote_options="permissive")
        assert "_SUCCESS" in s3.keys("run/")
    run = tmp_path / "calm"
    driver = start_driver(run, images=images, address=nodes.address, service_ms=1)
    said = end_of(driver)
    assert driver.returncode == 0, said
    assert found.to_pylist() == findings(run)[1]
