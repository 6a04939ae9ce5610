"""Several hosts: each worker on a card of its own; cards that hang, come, go, and are shared by two jobs."""

from __future__ import annotations

import fcntl
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers.job_runs import assert_each_once, commit_count, findings, metrics, write_pictures
from tests.helpers.processes import scaled_s
from tests.ray.chaos.card_cluster import CardCluster, card_cluster, wait_until
from tests.ray.chaos.storm import end_of, start_driver

HOSTS, CARDS_A_HOST = 4, 2
IMAGES = 320


@pytest.fixture(scope="module")
def nodes() -> Iterator[CardCluster]:
    with card_cluster(hosts=HOSTS) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("elastic"), IMAGES)


@pytest.fixture(scope="module")
def by_one_card(nodes: CardCluster, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    run = tmp_path_factory.mktemp("one") / "run"
    driver = start_driver(run, images=images, address=nodes.address, service_ms=1, more=["--cards", 1])
    said = end_of(driver)
    assert driver.returncode == 0, said
    assert len(metrics(run)["cards"]) == 1
    return findings(run)


@pytest.fixture(autouse=True)
def _no_worker_of_an_earlier_run(nodes: CardCluster, by_one_card: Any) -> None:
    """A driver's end is its workers' end too, a moment later."""
    wait_until(lambda: not nodes.workers(), 60, "every worker has ended")


def run_json(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "run.json").read_text(encoding="utf-8")))


def first_start_s(run: Path, number: int) -> float | None:
    """When the first image on a card of that number was begun, seconds since the epoch; None before its first commit."""
    tables = [
        pq.read_table(part, columns=["card", "started_ms"])
        for part in (run / "images").glob("part-*.parquet")
    ]
    begun_ms = [
        row["started_ms"]
        for table in tables
        for row in table.to_pylist()
        if (row["card"] or "").endswith(f"/{number}")
    ]
    return float(run_json(run)["started_s"]) + min(begun_ms) / 1000 if begun_ms else None


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_four_hosts_find_what_one_card_finds_each_worker_on_its_own_card(
    nodes: CardCluster, images: Path, by_one_card: Any, tmp_path: Path
) -> None:
    run, brake = tmp_path / "run", tmp_path / "brake"
    # Until it is taken away, so that the first workers leave work for the last one, however late that starts.
    brake.write_text("slow ms=2000 always", encoding="utf-8")
    driver = start_driver(
        run,
        images=images,
        address=nodes.address,
        service_ms=100,
        more=["--shard-size", 1, "--fault-file", brake],
    )
    wait_until(lambda: len(nodes.workers()) == HOSTS * CARDS_A_HOST, 60, "eight workers hold a lock")
    held = nodes.workers()
    locks = nodes.lock_files()
    assert all(is_locked(locks[name]) for name in held)
    done = commit_count(run)
    wait_until(lambda: commit_count(run) >= done + HOSTS * CARDS_A_HOST, 60, "eight more commits")
    brake.unlink()
    said = end_of(driver)
    assert driver.returncode == 0, said
    assert_each_once(run, IMAGES)
    assert findings(run) == by_one_card
    workers = run_json(run)["workers"]
    assert len({(worker["node"], worker["card"]) for worker in workers}) == HOSTS * CARDS_A_HOST
    # No worker died: those that held the locks are those that did the work, each on one lock.
    assert {Path(worker["lock"]).name: worker["pid"] for worker in workers} == held
    assert len({worker["pid"] for worker in workers}) == HOSTS * CARDS_A_HOST
    for worker in workers:
        assert Path(worker["lock"]).name == f"{worker['node']}-{worker['card'].rpartition('/')[2]}.lock"


def test_a_card_that_hangs_once_costs_its_deadline_and_nothing_else(
    nodes: CardCluster, images: Path, by_one_card: Any, tmp_path: Path
) -> None:
    run, fault, deadline_s = tmp_path / "run", tmp_path / "fault", 5.0
    fault.write_text("hang", encoding="utf-8")
    driver = start_driver(
        run,
        images=images,
        address=nodes.address,
        service_ms=10,
        more=["--cards", 2, "--fault-file", fault, "--shard-deadline", deadline_s],
    )
    wait_until(lambda: not fault.exists(), 60, "a card hangs")
    hung = time.monotonic()
    said = end_of(driver)
    took = time.monotonic() - hung
    assert driver.returncode == 0, said
    assert_each_once(run, IMAGES)
    assert findings(run) == by_one_card
    assert took < deadline_s + 30


def test_jobs_that_want_one_card_each_take_one_each_though_one_is_slow_to_load(
    nodes: CardCluster, images: Path, by_one_card: Any, tmp_path: Path
) -> None:
    one_card = ["--cards", 1, "--no-wait"]
    heavy, light = tmp_path / "heavy", tmp_path / "light"
    # The warm-up alone takes longer than a job waits before it says that another job has its card.
    heavy.write_text("slow ms=10500 always", encoding="utf-8")
    light.write_text("slow ms=1000 always", encoding="utf-8")
    slow = start_driver(
        tmp_path / "slow",
        images=images,
        address=nodes.address,
        service_ms=1,
        more=[*one_card, "--limit", 8, "--fault-file", heavy],
    )
    wait_until(lambda: len(nodes.workers()) == 1, 60, "the slow worker")
    runs = [tmp_path / "first", tmp_path / "second"]
    drivers = [
        start_driver(
            run,
            images=images,
            address=nodes.address,
            service_ms=5,
            more=[*one_card, "--fault-file", light],
        )
        for run in runs
    ]
    wait_until(lambda: len(nodes.workers()) == 3, 60, "a worker for each job")
    light.unlink()
    for driver, run in zip(drivers, runs, strict=True):
        said = end_of(driver)
        assert driver.returncode == 0, said
        assert findings(run) == by_one_card
    heavy.unlink()
    said = end_of(slow)
    assert slow.returncode == 0, said
    assert "taken" not in said
    workers = [run_json(run)["workers"] for run in (*runs, tmp_path / "slow")]
    assert [len(of_run) for of_run in workers] == [1, 1, 1]
    assert len({of_run[0]["lock"] for of_run in workers}) == 3


def test_a_host_that_joins_in_mid_run_gets_work_soon_and_a_stopped_run_goes_on(
    nodes: CardCluster, images: Path, by_one_card: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    single = ["--shard-size", 1]
    driver = start_driver(run, images=images, address=nodes.address, service_ms=2000, more=single)
    wait_until(lambda: commit_count(run) >= 1, 60, "the first commit")
    assert first_start_s(run, 7) is None
    nodes.add_host(device_ids=(7,))
    joined_s = time.time()
    wait_until(lambda: first_start_s(run, 7) is not None, 60, "rows by the new card")
    assert driver.poll() is None
    assert (first_start_s(run, 7) or 0.0) - joined_s < scaled_s(15)
    driver.send_signal(signal.SIGTERM)
    stopped = time.monotonic()
    said = end_of(driver)
    assert time.monotonic() - stopped < scaled_s(3)
    assert driver.returncode == 1
    assert "--resume" in said
    assert 0 < commit_count(run) < IMAGES
    driver = start_driver(run, images=images, address=nodes.address, service_ms=5, more=single)
    said = end_of(driver)
    assert driver.returncode == 0, said
    assert_each_once(run, IMAGES)
    assert findings(run) == by_one_card


def test_without_any_card_left_the_job_says_so_and_goes_on_later(
    nodes: CardCluster, images: Path, by_one_card: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    driver = start_driver(run, images=images, address=nodes.address, service_ms=1000)
    wait_until(lambda: commit_count(run) >= 2, 60, "two commits")
    kills = nodes.kills
    for host in list(nodes.hosts):
        nodes.kill_host(host)
    lost = time.monotonic()
    assert nodes.kills - kills >= HOSTS
    said = end_of(driver)
    took = time.monotonic() - lost
    assert driver.returncode == 1, said
    assert took < 60
    print(f"all cards lost: ended after {took:.1f} s")  # noqa: T201
    assert "no card is left" in said.splitlines()[-1], said
    done = commit_count(run)
    assert 0 < done < IMAGES // 10
    nodes.add_host()
    driver = start_driver(run, images=images, address=nodes.address, service_ms=5)
    said = end_of(driver)
    assert driver.returncode == 0, said
    assert_each_once(run, IMAGES)
    assert findings(run) == by_one_card
    assert (run / "_SUCCESS").exists()
