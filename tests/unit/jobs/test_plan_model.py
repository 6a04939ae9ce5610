"""The queueing model: bottlenecks one by one, deadlines, uncertainty, and Erlang's formula."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from jobs.plan.fleet_model import Pace, cards_carried, erlang_c, hosts_for, pace, pace_range, seconds
from jobs.plan.values import Fleet, Work
from tests.helpers.plan_values import CARD, COSTS, WORK


def fleet(**changes: Any) -> Fleet:
    return Fleet(**{"hosts": 1, "cards_per_host": 1, "cores_per_host": 8, **changes})


def used(found: Pace) -> dict[str, float]:
    return {station.name: station.used for station in found.stations}


@pytest.mark.parametrize(
    ("costs", "of_fleet", "shard_size", "bottleneck", "images_per_s"),
    [
        ({}, {}, 256, "card", 1000 / 50.2),
        ({}, {"cards_per_host": 3, "hosts": 4}, 256, "card", 12_000 / 50.2),
        # Two cores less what Ray takes, over all the CPU time of an image.
        ({}, {"cards_per_host": 64, "cores_per_host": 2}, 256, "cores", 1900 / (6.02 + 10 / 256)),
        ({"read_ms": 300.0}, {"cores_per_host": 64}, 256, "prepare threads", 4000 / 302),
        ({"postprocess_ms": 70.0}, {"cores_per_host": 64}, 256, "postprocess thread", 1000 / 70),
        ({}, {"storage_bytes_per_s": 1e6}, 256, "storage", 10.0),
        # Results leave by the same wire that images come in by.
        ({}, {"network_bytes_per_s": 1.01e6}, 256, "network", 10.0),
        ({}, {"cards_per_host": 8, "hosts": 40}, 1, "driver", 1000 / 5.02),
    ],
)
def test_each_station_can_be_the_one_that_sets_the_pace(
    costs: dict[str, float], of_fleet: dict[str, Any], shard_size: int, bottleneck: str, images_per_s: float
) -> None:
    found = pace(
        COSTS.model_copy(update=costs), CARD, fleet(**of_fleet), Work(images=10**6, shard_size=shard_size)
    )
    assert found.bottleneck == bottleneck
    assert found.images_per_s == pytest.approx(images_per_s, rel=0.02)
    assert used(found)[bottleneck] == pytest.approx(1, abs=0.02)
    assert found.images_per_s <= min(station.images_per_s for station in found.stations) * 1.000001


def test_a_batch_shares_the_idle_time_between_two_launches() -> None:
    costs = COSTS.model_copy(update={"handover_ms": 10.0})
    four = CARD.model_copy(update={"batch": 4})
    assert pace(costs, CARD, fleet(), WORK).images_per_s == pytest.approx(1000 / 60, rel=0.01)
    assert pace(costs, four, fleet(), WORK).images_per_s == pytest.approx(4000 / 210, rel=0.01)


def test_two_hosts_share_a_storage_but_not_their_networks() -> None:
    one, two = (
        pace(COSTS, CARD, fleet(hosts=hosts, network_bytes_per_s=1e6, storage_bytes_per_s=1.5e6), WORK)
        for hosts in (1, 2)
    )
    assert (one.bottleneck, two.bottleneck) == ("network", "storage")
    assert two.images_per_s == pytest.approx(15.0)


def test_cores_are_called_full_only_when_they_are() -> None:
    found = [
        pace(COSTS, CARD, fleet(cards_per_host=cards, cores_per_host=2), WORK) for cards in (1, 8, 14, 20)
    ]
    assert [one.cores_are_full for one in found] == [False, False, False, True]
    assert [round(used(one)["cores"], 1) for one in found] == [0.1, 0.5, 0.9, 1.0]


def test_no_number_of_hosts_makes_a_storage_faster() -> None:
    slow = fleet(storage_bytes_per_s=1e6)  # ten images a second
    assert hosts_for(COSTS, CARD, slow, WORK, deadline_s=3600) is None
    assert hosts_for(COSTS, CARD, slow, Work(images=9_000, shard_size=32), deadline_s=3600) == 1


def test_a_run_is_as_long_as_its_start_and_its_rounds_of_shards() -> None:
    two = fleet(cards_per_host=2)
    # Five shards of ten on two cards are three rounds of a second each.
    assert seconds(COSTS, 20.0, two, Work(images=50, shard_size=10)) == pytest.approx(5 + 3)
    assert seconds(COSTS, 20.0, two, Work(images=60, shard_size=10)) == pytest.approx(5 + 3)
    # One shard keeps one card busy, at that card's own pace.
    assert seconds(COSTS, 20.0, two, Work(images=10, shard_size=10)) == pytest.approx(5 + 1)


def test_only_the_last_runs_figures_are_waited_for() -> None:
    costs = COSTS.model_copy(update={"finish_image_ms": 100.0})
    one, five = (Work(images=50, shard_size=10, runs=runs) for runs in (1, 5))
    taken = [seconds(costs, 10.0, fleet(), work) for work in (one, five)]
    assert taken == pytest.approx([5 + 5 + 5, 5 + 5 + 1])


def test_the_cards_uncertainty_becomes_the_paces() -> None:
    low, high = pace_range(COSTS, CARD, fleet(), WORK)
    assert low == pytest.approx(1000 / 55.2, rel=0.01)
    assert high == pytest.approx(1000 / 45.2, rel=0.01)
    crowded = fleet(cards_per_host=64, cores_per_host=2)
    low, high = pace_range(COSTS, CARD, crowded, WORK)
    assert low == pytest.approx(high, rel=0.01)


@pytest.mark.parametrize("servers", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.99])
def test_erlangs_formula_is_the_sum_it_stands_for(servers: int, share: float) -> None:
    load = servers * share
    terms = [load**number / math.factorial(number) for number in range(servers)]
    last = load**servers / math.factorial(servers) / (1 - share)
    assert erlang_c(servers, load) == pytest.approx(last / (sum(terms) + last), rel=1e-9)


def test_erlangs_formula_at_its_ends() -> None:
    assert erlang_c(2, 0.0) == 0
    assert erlang_c(2, 2.0) == 1
    assert erlang_c(2, 5.0) == 1
    shares = [erlang_c(4, load / 10) for load in range(41)]
    assert all(first <= second for first, second in itertools.pairwise(shares))


def test_workers_that_share_a_core_cost_each_other_time() -> None:
    costs = COSTS.model_copy(update={"crowding": 0.1})
    # Up to one worker on two cores nothing; then a tenth for each doubling.
    factors = [costs.crowded_ms(share) / costs.worker_ms for share in (0.1, 0.5, 1, 2, 8)]
    assert factors == pytest.approx([1, 1, 1.1, 1.2, 1.4])
    found = pace(costs, CARD, fleet(cards_per_host=64, cores_per_host=2), WORK)
    assert found.images_per_s == pytest.approx(1900 / (6 * 1.6 + 0.02 + 10 / 256), rel=0.02)
    assert cards_carried(COSTS, CARD, fleet(cores_per_host=2)) == pytest.approx(1.9 * 50 / 6)
    assert cards_carried(costs, CARD, fleet(cores_per_host=2)) < 1.9 * 50 / 6


def test_costs_go_with_the_pixels_they_come_from() -> None:
    larger = COSTS.scaled(image_megapixels=2.0, input_megapixels=0.1)
    assert (larger.read_ms, larger.image_bytes) == (4.0, 200_000)
    assert (larger.preprocess_ms, larger.postprocess_ms, larger.handling_ms) == (0.5, 0.25, 0.25)
    assert (larger.driver_image_ms, larger.shard_ms) == (COSTS.driver_image_ms, COSTS.shard_ms)
    assert larger.scaled(image_megapixels=1.0, input_megapixels=0.4) == COSTS
