"""A fleet as a small queueing network: stations in a row, the slowest of which sets the pace; pure functions.

An image passes the storage, its host's network, two or three threads of its worker, a card, and the driver. Queues
between them are bounded and short beside a run, so in the long run each station passes what the slowest one does:
X = min over stations of (servers / service time). Two stations are not independent of the others:

- The **cores** of a host serve every stage of all its workers, Ray, and on the first host the driver. Their capacity
  is cores / (sum of CPU times of an image).
- A **card** waits between two launches until its thread gets a core. With m cores that are busy for a share rho of the
  time, a thread finds all of them busy with Erlang's C(m, m·rho), and then waits for the rest of a slice of work. So a
  card's own pace depends on the pace of all of them: it is found as a fixed point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from jobs.plan.values import CardTime, Fleet, HostCosts, Value, Work

CORES: Final = "cores"
CARD: Final = "card"
# Beyond this share of a host's cores the plan calls them full: images then wait for cores, not for cards.
FULL: Final = 0.95
_ROUNDS: Final = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Station:
    """A place that every image passes. images_per_s: what all servers of it could pass. used: share of that."""

    name: str
    images_per_s: float
    used: float
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """What a fleet does in the long run; stations in the order of an image's way."""

    images_per_s: float
    bottleneck: str
    stations: tuple[Station, ...]
    card_idle_ms: float

    @property
    def cores_are_full(self) -> bool:
        """Whether the hosts' cores, not the cards, are all in use."""
        return next(station.used for station in self.stations if station.name == CORES) >= FULL


def pace(costs: HostCosts, card: CardTime, fleet: Fleet, work: Work) -> Pace:
    """The long-run pace of a fleet, and how much of each station it takes."""
    others = _fixed_stations(costs, fleet, work)
    limit = min(capacity for _, capacity, _ in others)
    cores_capacity = next(capacity for name, capacity, _ in others if name == CORES)
    low, high = 0.0, limit
    for _ in range(_ROUNDS):  # the cards' capacity falls as the pace rises: they meet once
        middle = (low + high) / 2
        if _cards_capacity(costs, card, fleet, busy=middle / cores_capacity) >= middle:
            low = middle
        else:
            high = middle
    images_per_s = low
    idle_ms = _idle_ms(costs, fleet, busy=images_per_s / cores_capacity)
    cards_capacity = _cards_capacity(costs, card, fleet, busy=images_per_s / cores_capacity)
    what = f"{fleet.cards} x {card.image_ms:.4g} ms per image"
    listed = [*others, (CARD, cards_capacity, what)]
    return Pace(
        images_per_s=images_per_s,
        bottleneck=min(listed, key=lambda entry: entry[1])[0],
        stations=tuple(
            Station(name=name, images_per_s=capacity, used=min(1.0, images_per_s / capacity), what=what)
            for name, capacity, what in listed
        ),
        card_idle_ms=idle_ms,
    )


def _fixed_stations(costs: HostCosts, fleet: Fleet, work: Work) -> list[tuple[str, float, str]]:
    """Name, images per second, and what it consists of, for each station whose capacity is its own."""
    stations = _bandwidths(costs, fleet)
    workers_ms = costs.crowded_ms(fleet.cards_per_host / fleet.cores_per_host)
    cpu_ms = workers_ms + (costs.driver_image_ms + costs.shard_ms / work.shard_size) / fleet.hosts
    cores = max(fleet.cores_per_host - costs.resident_cores, 0.05)
    prepare_ms = costs.read_ms + costs.preprocess_ms
    driver_ms = costs.driver_image_ms + costs.driver_shard_ms / work.shard_size
    return [
        *stations,
        (
            "prepare threads",
            fleet.cards * fleet.prepare_threads * 1000 / prepare_ms,
            f"{fleet.prepare_threads} a card x {prepare_ms:.3g} ms",
        ),
        (
            CORES,
            fleet.hosts * cores * 1000 / cpu_ms,
            f"{fleet.hosts} x {cores:.3g} for work x {cpu_ms:.3g} ms",
        ),
        (
            "postprocess thread",
            fleet.cards * 1000 / costs.postprocess_ms,
            f"1 a card x {costs.postprocess_ms:.3g} ms",
        ),
        ("driver", 1000 / driver_ms, f"1 x {driver_ms:.3g} ms, shards of {work.shard_size}"),
    ]


def _bandwidths(costs: HostCosts, fleet: Fleet) -> list[tuple[str, float, str]]:
    stations = []
    if fleet.storage_bytes_per_s is not None:
        stations.append(
            (
                "storage",
                fleet.storage_bytes_per_s / costs.image_bytes,
                f"{costs.image_bytes / 1e3:.4g} kB per image",
            )
        )
    if fleet.network_bytes_per_s is not None:
        moved = costs.image_bytes + costs.result_bytes
        stations.append(
            (
                "network",
                fleet.hosts * fleet.network_bytes_per_s / moved,
                f"{moved / 1e3:.4g} kB per image in and out of its host",
            )
        )
    return stations


def _cards_capacity(costs: HostCosts, card: CardTime, fleet: Fleet, *, busy: float) -> float:
    launch_ms = card.image_ms * card.batch + _idle_ms(costs, fleet, busy=busy)
    return fleet.cards * card.batch * 1000 / launch_ms


def _idle_ms(costs: HostCosts, fleet: Fleet, *, busy: float) -> float:
    """How long a card waits between two launches while the cores are busy for a share of the time."""
    servers = max(1, math.floor(fleet.cores_per_host))
    slice_ms = costs.worker_ms / 4  # an image's work comes in about four pieces
    return costs.handover_ms + erlang_c(servers, min(busy, 1.0) * servers) * slice_ms


def erlang_c(servers: int, load: float) -> float:
    """The share of arrivals that find all servers busy; load in servers, and 1 from there on."""
    if load >= servers:
        return 1.0
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def cards_carried(costs: HostCosts, card: CardTime, fleet: Fleet) -> float:
    """How many such cards the cores of one host can serve, themselves all in use."""
    cores = fleet.cores_per_host - costs.resident_cores
    low, high = 0.0, cores * card.image_ms / costs.worker_ms
    for _ in range(_ROUNDS):  # more cards need more CPU time each: their need and the cores meet once
        middle = (low + high) / 2
        need = middle / card.image_ms * costs.crowded_ms(middle / fleet.cores_per_host)
        low, high = (middle, high) if need <= cores else (low, middle)
    return low


def pace_range(costs: HostCosts, card: CardTime, fleet: Fleet, work: Work) -> tuple[float, float]:
    """The pace with the card slower and faster by the uncertainty of its time, images per second."""
    slow, fast = (
        card.model_copy(update={"image_ms": max(card.image_ms + sign * card.uncertainty_ms, 1e-3)})
        for sign in (1, -1)
    )
    return pace(costs, slow, fleet, work).images_per_s, pace(costs, fast, fleet, work).images_per_s


def seconds(costs: HostCosts, images_per_s: float, fleet: Fleet, work: Work) -> float:
    """Wall time of a run: workers start, shards pass in rounds of one a card, the last run's figures are written.

    The last round takes as long as the others, however few shards are left for it.
    """
    shard_size = min(work.shard_size, work.images)
    rounds = math.ceil(math.ceil(work.images / shard_size) / fleet.cards)
    passing_s = rounds * shard_size * fleet.cards / images_per_s
    return costs.start_s + passing_s + work.images / work.runs * costs.finish_image_ms / 1000


def hosts_for(costs: HostCosts, card: CardTime, fleet: Fleet, work: Work, *, deadline_s: float) -> int | None:
    """The fewest hosts that are done in time; None where no number of them is, since something else is the limit."""

    def in_time(hosts: int) -> bool:
        larger = fleet.model_copy(update={"hosts": hosts})
        return seconds(costs, pace(costs, card, larger, work).images_per_s, larger, work) <= deadline_s

    high = 1
    while not in_time(high):
        high *= 2
        if high > 2**20:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if in_time(middle) else (middle, high)
    return high


# Peaks while the image list is made, from a text list and from a Parquet file of URLs of 43 characters an id.
LIST_BYTES: Final = 430
URL_LIST_BYTES: Final = 770
# A commit in memory with what its record was read from; its line in commits.jsonl.
COMMIT_BYTES: Final = 2_340
COMMIT_LINE_BYTES: Final = 387
# The four stage times and two moments of an image as metrics.json and the report gather them.
TIMES_BYTES: Final = 175
# A detection as mAP takes it, gathered and matched.
SCORED_BYTES: Final = 130
DRIVER_BASE_BYTES: Final = 400e6
LIST_S: Final = 12e-6
COMMIT_READ_S: Final = 39e-6


class RunFootprint(Value):
    """Of each run when the images are split evenly over `runs`; a run is one driver and one folder.

    driver_bytes: its memory at most. part_files: images/ and detections/ together. list_s: to list the images.
    resume_s: to read the commits of a run that is nearly done. result_bytes: its Parquet files.
    """

    runs: int
    images: int
    shards: int
    driver_bytes: float
    scoring_bytes: float
    part_files: int
    commit_log_bytes: float
    list_s: float
    resume_s: float
    result_bytes: float


def run_footprint(
    costs: HostCosts, work: Work, *, driver_memory_bytes: float, detections_per_image: float, runs: int | None
) -> RunFootprint:
    """Split the images into as few runs as the driver's memory allows, or as many as are asked for."""
    runs = runs or _fewest_runs(work, driver_memory_bytes)
    images = math.ceil(work.images / runs)
    shards = math.ceil(images / work.shard_size)
    return RunFootprint(
        runs=runs,
        images=images,
        shards=shards,
        driver_bytes=DRIVER_BASE_BYTES + _driver_bytes(images, work.shard_size),
        scoring_bytes=images * detections_per_image * SCORED_BYTES,
        part_files=2 * shards,
        commit_log_bytes=shards * COMMIT_LINE_BYTES,
        list_s=images * LIST_S,
        resume_s=images * LIST_S + shards * COMMIT_READ_S,
        result_bytes=images * costs.result_bytes,
    )


def _fewest_runs(work: Work, driver_memory_bytes: float) -> int:
    room = max(driver_memory_bytes - DRIVER_BASE_BYTES, 1.0)
    return max(1, math.ceil(_driver_bytes(work.images, work.shard_size) / room))


def _driver_bytes(images: int, shard_size: int) -> float:
    # The list's peak is over before the times are gathered; the larger of the two counts.
    return images * max(URL_LIST_BYTES, TIMES_BYTES) + images / shard_size * COMMIT_BYTES
