"""The plan's model over fleets of all kinds: more of anything is never slower, and the fewest hosts are the fewest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.plan.fleet_model import cards_carried, hosts_for, pace, seconds
from jobs.plan.values import Fleet, Work
from tests.helpers.plan_values import CARD, COSTS, WORK

FLEETS = st.builds(
    Fleet,
    hosts=st.integers(1, 50),
    cards_per_host=st.integers(1, 16),
    cores_per_host=st.integers(1, 64),
    network_bytes_per_s=st.none() | st.floats(1e5, 1e10),
    storage_bytes_per_s=st.none() | st.floats(1e5, 1e12),
)


@given(FLEETS, st.floats(0.5, 2000), st.integers(1, 64))
def test_more_of_anything_is_never_slower(of: Fleet, image_ms: float, shard_size: int) -> None:
    card = CARD.model_copy(update={"image_ms": image_ms})
    work = Work(images=10**6, shard_size=shard_size)
    before = pace(COSTS, card, of, work).images_per_s
    assert 0 < before <= of.cards * 1000 / image_ms
    larger: list[dict[str, float]] = [
        {"hosts": of.hosts + 1},
        {"cards_per_host": of.cards_per_host + 1},
        {"cores_per_host": of.cores_per_host + 1},
    ]
    for change in larger:
        assert pace(COSTS, card, of.model_copy(update=change), work).images_per_s >= before * (1 - 1e-9)
    slower = card.model_copy(update={"image_ms": image_ms * 1.1})
    assert pace(COSTS, slower, of, work).images_per_s <= before * (1 + 1e-9)


@given(FLEETS, st.floats(1, 200))
def test_the_fewest_hosts_are_the_fewest(of: Fleet, hours: float) -> None:
    deadline_s = hours * 3600
    needed = hosts_for(COSTS, CARD, of, WORK, deadline_s=deadline_s)

    def takes_s(hosts: int) -> float:
        larger = of.model_copy(update={"hosts": hosts})
        return seconds(COSTS, pace(COSTS, CARD, larger, WORK).images_per_s, larger, WORK)

    if needed is None:
        assert takes_s(2**20) > deadline_s
        return
    assert takes_s(needed) <= deadline_s
    assert needed == 1 or takes_s(needed - 1) > deadline_s


@given(st.integers(1, 64), st.floats(1, 500), st.floats(0, 0.5))
def test_as_many_cards_as_the_cores_carry_fill_them(cores: int, image_ms: float, crowding: float) -> None:
    costs = COSTS.model_copy(update={"crowding": crowding})
    card = CARD.model_copy(update={"image_ms": image_ms})
    carried = cards_carried(costs, card, Fleet(hosts=1, cards_per_host=1, cores_per_host=cores))
    need = carried / image_ms * costs.crowded_ms(carried / cores)
    assert abs(need - (cores - costs.resident_cores)) < 1e-6 * cores
