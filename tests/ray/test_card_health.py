"""A whole job on a real card's path, SAIL's stand-in in the card's place: its health is in the run's files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray

from cluster.cards import registered_slots
from cluster.connect import connected
from cluster.health import HealthSampler, Sample, sample_card
from cluster.health_hosts import HealthHosts
from jobs.health import summarise_health
from jobs.run_folder.folder import open_run
from tests.job_runs import TINY_BMODEL, assert_each_once, finished, metrics, options_of
from tests.ray.conftest import SharedCluster
from tpu_worker.devices.sail import CardHealth


@pytest.mark.simulator
def test_a_run_on_sail_samples_the_cards_health(
    sail_stand_in: dict[str, str], pictures: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    finished(
        *options_of({"images": pictures, "model": TINY_BMODEL, "device": "sail", "output": run}),
        environment=sail_stand_in,
    )
    assert_each_once(run, 40)
    found = metrics(run)
    [card] = found["health"]
    assert card["card"] == found["cards"][0]["card"]
    assert card["state"] == "ok"
    assert card["samples"] >= 1
    assert card["unanswered"] == 0
    # What the stand-in says of itself.
    assert (card["chip_celsius_max"], card["board_celsius_max"]) == (52, 41)
    assert (card["memory_used_mb_max"], card["utilisation_percent_mean"]) == (310, 77)
    table = pq.read_table(run / "health.parquet")
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
    """Says which process it is by the time of its samples."""

    def sample(self, device_ids: Iterable[int]) -> list[Sample]:
        return [
            replace(sample_card(device_id, lambda _: COOL), time_s=float(os.getpid()))
            for device_id in device_ids
        ]


def test_a_sampler_is_replaced_before_it_has_too_many_cards_open(cluster: SharedCluster) -> None:
    this_module = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(this_module)
    found: list[list[tuple[str, Sample]]] = []
    try:
        with connected(cluster.address, local_resources={}):
            slots = registered_slots(ray.nodes(), virtual=True)[:2]
            hosts = HealthHosts(lambda: slots, sampler_class=CountingSampler, samples_of_one=6)
            for _ in range(40):  # the first answer of a sampler may take longer than it is waited for
                if answer := hosts.ask():
                    found.append(answer)
                if len(found) == 7:
                    break
            hosts.close()
    finally:
        ray.cloudpickle.unregister_pickle_by_value(this_module)
    assert [len(answer) for answer in found] == [2] * 7
    processes = [answer[0][1].time_s for answer in found]
    # Three questions about two cards each.
    assert [processes.index(one) for one in processes] == [0, 0, 0, 3, 3, 3, 6]


COOL = CardHealth(
    chip_celsius=50, board_celsius=40, memory_total_mb=12288, memory_used_mb=100, utilisation_percent=9
)


def test_a_sampler_that_dies_is_replaced_and_asked_again(cluster: SharedCluster, tmp_path: Path) -> None:
    this_module = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(this_module)
    marker = tmp_path / "died"
    try:
        with connected(cluster.address, local_resources={}):
            cards = registered_slots(ray.nodes(), virtual=True)[:2]
            slots = [replace(slot, host=str(marker)) for slot in cards]
            hosts = HealthHosts(lambda: slots, sampler_class=FrailSampler)
            found: list[tuple[str, Sample]] = []
            for _ in range(20):
                found = hosts.ask()
                if found:
                    break
            hosts.close()
    finally:
        ray.cloudpickle.unregister_pickle_by_value(this_module)
    assert marker.exists(), "the first sampler never died"
    assert sorted(card for card, _ in found) == [f"{marker}/0", f"{marker}/1"]
    assert all(sample.health == COOL for _, sample in found)
