"""A whole job on a real card's path, SAIL's stand-in in the card's place: its health is in the run's files."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray

from cluster.cards.card_slots import CardSlot, registered_slots
from cluster.connect import connected
from cluster.health.card_health import HealthSampler, Sample, sample_card
from cluster.health.health_hosts import HealthHosts
from cluster.health.health_watch import HealthWatch, Named
from jobs.measure.card_health import summarise_health
from jobs.run.folder import open_run
from jobs.run.health import write_health
from jobs.run.store import LocalStore
from tests.helpers.job_runs import (
    TINY_BMODEL,
    assert_each_once,
    finished,
    metrics,
    options_of,
    write_pictures,
)
from tests.helpers.processes import HANG_S
from tests.ray.conftest import SharedCluster
from tpu_worker.devices.sail import CardHealth


@pytest.mark.simulator
def test_a_run_on_sail_samples_the_cards_health(sail_stand_in: dict[str, str], tmp_path: Path) -> None:
    # Long enough for the process that asks the card to start beside it.
    images, run = write_pictures(tmp_path / "images", 120), tmp_path / "run"
    finished(
        *options_of({"images": images, "model": TINY_BMODEL, "device": "sail", "output": run}),
        environment=sail_stand_in,
    )
    assert_each_once(run, 120)
    found = metrics(run)
    [card] = found["health"]
    assert card["card"] == found["cards"][0]["card"]
    assert card["state"] == "ok"
    # On a machine that stalls an answer may come too late to count.
    assert card["samples"] > card["unanswered"]
    # What the stand-in says of itself.
    assert (card["chip_temperature_c_max"], card["board_temperature_c_max"]) == (52, 41)
    assert (card["memory_used_mb_max"], card["utilisation_percent_mean"]) == (310, 77)
    table = pq.read_table(run / "health")
    assert table.num_rows == card["samples"]
    times = table.column("sampled_ms").to_pylist()
    assert times == sorted(times)
    assert 0 < times[0] < found["time"]["detect_s"] * 1000 + 60_000
    assert summarise_health(open_run(str(run)).store) is not None
    assert "Chip temperature" in (run / "report.html").read_text(encoding="utf-8")


class FrailSampler(HealthSampler):
    """Reads a card that is never hot, and takes its process along when asked for card 1 the first time."""

    def sample(self, device_ids: Iterable[int]) -> list[Sample]:
        marker = Path(self._host)  # the test's own folder stands in the host's place
        if 1 in device_ids and not marker.exists():
            marker.touch()
            os._exit(7)
        return [sample_card(device_id, lambda _: COOL) for device_id in device_ids]


class CountingSampler(HealthSampler):
    """Says which process it is by the memory of its cards."""

    def sample(self, device_ids: Iterable[int]) -> list[Sample]:
        mine = replace(COOL, memory_used_mb=os.getpid())
        return [sample_card(device_id, lambda _: mine) for device_id in device_ids]


class DeadlySampler(HealthSampler):
    """Asking for card 1 takes the process along, every time."""

    def sample(self, device_ids: Iterable[int]) -> list[Sample]:
        if 1 in device_ids:
            os._exit(7)
        return [sample_card(device_id, lambda _: COOL) for device_id in device_ids]


class HangingSampler(HealthSampler):
    """Card 1 never answers; whoever asks it writes its process's number into the test's folder."""

    def sample(self, device_ids: Iterable[int]) -> list[Sample]:
        if 1 in device_ids:
            (Path(self._host) / str(os.getpid())).touch()
            threading.Event().wait()
        return [sample_card(device_id, lambda _: COOL) for device_id in device_ids]


class StuckSampler(HealthSampler):
    """Its process never gets so far that it could be asked."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        threading.Event().wait()


# For answers that come: how late a busy machine brings them is no silence here.
PATIENCE_S = 30.0


@contextmanager
def connected_here(cluster: SharedCluster, cards: int) -> Iterator[list[CardSlot]]:
    """The cluster's first cards, with this module's classes known to its actors."""
    this_module = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(this_module)
    try:
        with connected(cluster.address, local_resources={}):
            yield registered_slots(ray.nodes(), virtual=True)[:cards]
    finally:
        ray.cloudpickle.unregister_pickle_by_value(this_module)


def test_a_sampler_is_replaced_before_it_has_too_many_cards_open(cluster: SharedCluster) -> None:
    found: list[list[tuple[str, Sample]]] = []
    with connected_here(cluster, 2) as slots:
        hosts = HealthHosts(
            lambda: slots, sampler_class=CountingSampler, samples_of_one=6, answer_within_s=PATIENCE_S
        )
        for _ in range(40):  # the first answer of a sampler may take longer than it is waited for
            if answer := hosts.ask():
                found.append(answer)
            if len(found) == 7:
                break
        hosts.close()
    assert [len(answer) for answer in found] == [2] * 7
    processes = [health.memory_used_mb for answer in found if (health := answer[0][1].health)]
    # Three questions about two cards each.
    assert [processes.index(one) for one in processes] == [0, 0, 0, 3, 3, 3, 6]


COOL = CardHealth(
    chip_temperature_c=50,
    board_temperature_c=40,
    memory_total_mb=12288,
    memory_used_mb=100,
    utilisation_percent=9,
)


def test_a_sampler_that_dies_is_replaced_and_asked_again(cluster: SharedCluster, tmp_path: Path) -> None:
    marker = tmp_path / "died"
    found: list[tuple[str, Sample]] = []
    with connected_here(cluster, 2) as cards:
        slots = [replace(slot, host=str(marker)) for slot in cards]
        hosts = HealthHosts(lambda: slots, sampler_class=FrailSampler, answer_within_s=PATIENCE_S)
        for _ in range(40):
            found += hosts.ask()
            if {card for card, sample in found if sample.health == COOL} == {f"{marker}/0", f"{marker}/1"}:
                break
        hosts.close()
    assert marker.exists(), "the first sampler never died"
    # The first question's cards are both silent, once; then each has a sampler of its own, and answers.
    silent = [(card, sample.error) for card, sample in found if sample.health is None]
    reason = "the query of its state failed: ActorDiedError"
    assert silent == [(f"{marker}/0", reason), (f"{marker}/1", reason)]
    assert {card for card, sample in found if sample.health == COOL} == {f"{marker}/0", f"{marker}/1"}


@pytest.mark.parametrize(
    ("sampler_class", "reason"),
    [
        (DeadlySampler, "the query of its state failed: ActorDiedError"),
        (HangingSampler, "no answer within 5 s"),
    ],
)
def test_a_card_that_hangs_or_kills_who_asks_is_named_and_its_neighbour_is_not(
    sampler_class: type, reason: str, cluster: SharedCluster, tmp_path: Path
) -> None:
    told: list[str] = []
    named = threading.Event()

    def tell(sentence: str) -> None:
        told.append(sentence)
        named.set()

    with connected_here(cluster, 2) as cards:
        slots = [replace(slot, host=str(tmp_path)) for slot in cards]
        hosts = HealthHosts(lambda: slots, sampler_class=sampler_class, answer_within_s=5.0)
        samples: list[Named] = []
        watch = HealthWatch(hosts.ask, keep=samples.extend, tell=tell, end=hosts.close, every_s=0.1)
        with watch:
            assert named.wait(120), "nobody was named"
            time.sleep(1)  # for whatever would be said of the neighbour
    assert told == [f"card {tmp_path}/1 does not report its state: {reason}"]
    by_card = {
        number: [sample.health for card, sample in samples if card == f"{tmp_path}/{number}"]
        for number in (0, 1)
    }
    assert COOL in by_card[0]
    assert set(by_card[1]) == {None}
    write_health(LocalStore(tmp_path / "run"), samples, run_started_s=0.0)
    neighbour, failing = summarise_health(LocalStore(tmp_path / "run")) or ()
    assert (neighbour.state, failing.state) == ("ok", "silent")
    assert failing.unanswered == failing.samples >= 3


def test_a_card_that_loses_its_samplers_again_and_again_is_left_in_peace_for_a_while(
    cluster: SharedCluster,
) -> None:
    with connected_here(cluster, 2) as cards:
        slots = cards[1:]
        hosts = HealthHosts(lambda: slots, sampler_class=DeadlySampler, answer_within_s=PATIENCE_S)
        silences: list[int] = []
        for count in range(60):
            if hosts.ask():
                silences.append(count)
            if len(silences) == 5:
                break
        hosts.close()
    # One for all of the node's cards, three for this one, and only then rounds in which nobody asks.
    assert len(silences) == 5
    assert silences[3] - silences[0] < 12 < silences[4] - silences[3]


def test_a_sampler_that_does_not_start_is_a_silence_too(cluster: SharedCluster) -> None:
    found: list[tuple[str, Sample]] = []
    with connected_here(cluster, 1) as slots:
        hosts = HealthHosts(
            lambda: slots, sampler_class=StuckSampler, answer_within_s=0.5, start_within_s=2.0
        )
        asked = time.monotonic()
        while not found and time.monotonic() < asked + 60:
            found = hosts.ask()
        took_s = time.monotonic() - asked
        hosts.close()
    assert took_s > 2
    [(card, sample)] = found
    assert card == f"{slots[0].host}/{slots[0].device_id}"
    assert sample.error == "the process that reads its state does not start"


def test_processes_that_hang_do_not_stay(cluster: SharedCluster, tmp_path: Path) -> None:
    with connected_here(cluster, 2) as cards:
        slots = [replace(slot, host=str(tmp_path)) for slot in cards[1:]]
        hosts = HealthHosts(lambda: slots, sampler_class=HangingSampler, answer_within_s=0.5)
        for _ in range(120):
            hosts.ask()
            if len(list(tmp_path.iterdir())) >= 2:
                break
        hosts.close()
        processes = [int(path.name) for path in tmp_path.iterdir()]
        assert len(processes) >= 2, "the first sampler was never replaced"
        deadline = time.monotonic() + HANG_S
        while left := [number for number in processes if Path(f"/proc/{number}").exists()]:
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.1)
