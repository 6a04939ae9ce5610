"""Options → the fleet's plan: pace, bottleneck, hours, hosts and what such a run leaves behind; and its page for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bmodel.errors import ConfigurationError
from bmodel.sidecar import MODEL_SUFFIXES, SIDECAR_SUFFIX, ModelSpec, model_path_of
from jobs.inputs.images import default_shard_size
from jobs.plan.fleet_model import (
    RunFootprint,
    Station,
    cards_carried,
    hosts_for,
    pace,
    pace_range,
    run_footprint,
    seconds,
)
from jobs.plan.plan_options import PlanOptions, card_time_of_file, card_time_of_table
from jobs.plan.values import CardTime, Fleet, HostCosts, Value, Work, default_costs, read_costs
from jobs.report.format import TIMES, count, decimal, plural

# A row of detections/part-*.parquet takes about as much, and one of images/ ten times that.
_DETECTION_BYTES: Final = 16
_IMAGE_ROW_BYTES: Final = 60


class FleetPlan(Value):
    """Everything that is said; the JSON is this.

    images_per_s: expected, and with the card's time longer and shorter by its uncertainty. cards_carried: how many
    such cards the cores of a host can serve. hosts_needed: for the deadline; null without one, or where no number of
    hosts is enough (deadline_limit says why).
    """

    images: int
    costs: HostCosts
    card: CardTime
    fleet: Fleet
    shard_size: int
    images_per_s: float
    images_per_s_low: float
    images_per_s_high: float
    bottleneck: str
    cores_are_full: bool
    cards_carried: float
    stations: tuple[Station, ...]
    hours: float
    hours_low: float
    hours_high: float
    deadline_hours: float | None
    hosts_needed: int | None
    deadline_limit: str
    footprint: RunFootprint


def make_plan(options: PlanOptions, costs: HostCosts, card: CardTime) -> FleetPlan:
    """Work the plan out."""
    scaled = _for_these_images(costs, card, options)
    fleet = _fleet(options)
    size = options.shard_size or default_shard_size(options.images, cards=fleet.cards, batch=card.batch)
    work = Work(images=options.images, shard_size=size)
    footprint = run_footprint(
        scaled,
        work,
        driver_memory_bytes=options.driver_memory_gb * 1e9,
        detections_per_image=max(0.0, scaled.result_bytes - _IMAGE_ROW_BYTES) / _DETECTION_BYTES,
        runs=options.runs,
    )
    work = work.model_copy(update={"runs": footprint.runs})
    found = pace(scaled, card, fleet, work)
    low, high = pace_range(scaled, card, fleet, work)
    needed, limit = _deadline(options, scaled, card, fleet, work)
    return FleetPlan(
        images=options.images,
        costs=scaled,
        card=card,
        fleet=fleet,
        shard_size=size,
        images_per_s=found.images_per_s,
        images_per_s_low=low,
        images_per_s_high=high,
        bottleneck=found.bottleneck,
        cores_are_full=found.cores_are_full,
        cards_carried=cards_carried(scaled, card, fleet),
        stations=found.stations,
        hours=seconds(scaled, found.images_per_s, fleet, work) / 3600,
        hours_low=seconds(scaled, high, fleet, work) / 3600,
        hours_high=seconds(scaled, low, fleet, work) / 3600,
        deadline_hours=options.deadline_hours,
        hosts_needed=needed,
        deadline_limit=limit,
        footprint=footprint,
    )


def _fleet(options: PlanOptions) -> Fleet:
    return Fleet(
        hosts=options.hosts,
        cards_per_host=options.cards_per_host,
        cores_per_host=options.cores_per_host,
        network_bytes_per_s=None if options.network_mb_s is None else options.network_mb_s * 1e6,
        storage_bytes_per_s=None if options.storage_mb_s is None else options.storage_mb_s * 1e6,
    )


def _for_these_images(costs: HostCosts, card: CardTime, options: PlanOptions) -> HostCosts:
    height, width = options.image_size or (1, 1)
    scaled = costs.scaled(
        image_megapixels=height * width / 1e6 if options.image_size else costs.image_megapixels,
        input_megapixels=card.input_hw[0] * card.input_hw[1] / 1e6,
    )
    if options.image_kb is None:
        return scaled
    return scaled.model_copy(update={"image_bytes": options.image_kb * 1e3})


def _deadline(
    options: PlanOptions, costs: HostCosts, card: CardTime, fleet: Fleet, work: Work
) -> tuple[int | None, str]:
    if options.deadline_hours is None:
        return None, ""
    needed = hosts_for(costs, card, fleet, work, deadline_s=options.deadline_hours * 3600)
    if needed is not None:
        return needed, ""
    crowd = fleet.model_copy(update={"hosts": 2**20})
    return None, pace(costs, card, crowd, work).bottleneck


def card_of(options: PlanOptions) -> tuple[CardTime, ModelSpec | None]:
    """The network's time on a card, and its description where there is a file."""
    if options.i_time is not None:
        given = CardTime(
            image_ms=options.i_time,
            batch=options.batch,
            network="a network",
            input_hw=(options.size, options.size),
            precision=options.precision,
            source="given",
        )
        return given, None
    name = options.model or ""
    path = Path(name)
    if path.exists() or path.suffix.lower() in MODEL_SUFFIXES or name.endswith(SIDECAR_SUFFIX):
        return card_time_of_file(path)
    table = options.predictions
    return card_time_of_table(
        name, size=options.size, precision=options.precision, batch=options.batch, table=table
    ), None


def costs_of(options: PlanOptions, spec: ModelSpec | None) -> HostCosts:
    """The host's costs, measured now, read or shipped."""
    defaults = default_costs()
    if options.measure is not None:
        from jobs.plan.measure_host import measure_host
        from tpu_worker.detector import DetectOptions
        from tpu_worker.devices.timed import standard_spec

        model = model_path_of(Path(options.model)) if spec is not None and options.model else None
        costs = measure_host(
            options.measure,
            spec=spec or standard_spec(batch=options.batch),
            options=DetectOptions(),
            model=model,
            defaults=defaults,
        )
    elif options.host_costs is not None:
        costs = read_costs(options.host_costs, defaults)
    else:
        costs = defaults
    if options.save_costs is not None:
        try:
            options.save_costs.write_text(costs.model_dump_json(indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"--save-costs: cannot write '{options.save_costs}': {error.strerror}"
            ) from error
    return costs


_NAMES = {
    "storage": "the storage",
    "network": "the hosts' network",
    "prepare threads": "the threads that read and letterbox",
    "cores": "the hosts' cores",
    "postprocess thread": "the thread that turns a card's outputs into boxes",
    "driver": "the driver",
    "card": "the cards",
}


def page(plan: FleetPlan) -> str:
    """The whole plan, one fact per line."""
    return (
        "\n".join(
            [*_question(plan), "", *_stations(plan.stations), "", *_answer(plan), "", *_footprint(plan)]
        )
        + "\n"
    )


def _question(plan: FleetPlan) -> list[str]:
    card, costs, fleet = plan.card, plan.costs, plan.fleet
    height, width = card.input_hw
    spread = f" ± {card.uncertainty_ms:.2g}" if card.uncertainty_ms else ""
    host = f"{plural(fleet.cards_per_host, 'card')} and {decimal(fleet.cores_per_host)} cores"
    return [
        f"{count(plan.images)} images of {decimal(costs.image_megapixels)} megapixels, {decimal(costs.image_bytes / 1e3)} kB",
        f"network: {card.network}, {card.precision}, input {height} {TIMES} {width}, batch {card.batch}",
        f"card:    {card.image_ms:.4g}{spread} ms per image, {card.source}",
        f"host:    {decimal(costs.worker_ms)} ms of a core an image",
        f"costs:   {costs.source}",
        f"fleet:   {plural(fleet.hosts, 'host')} with {host} each, shards of {count(plan.shard_size)}",
    ]


def _stations(stations: Sequence[Station]) -> list[str]:
    lines = [f"{'station':<20}{'images/s':>10}{'used':>7}  what it is"]
    return lines + [
        f"{station.name:<20}{decimal(station.images_per_s):>10}{station.used:>7.0%}  {station.what}"
        for station in stations
    ]


def _answer(plan: FleetPlan) -> list[str]:
    spread = ""
    if plan.card.uncertainty_ms:
        spread = f" ({decimal(plan.images_per_s_low)} to {decimal(plan.images_per_s_high)} by the card's uncertainty)"
    verb = "set" if plan.bottleneck in {"card", "cores", "prepare threads"} else "sets"
    lines = [
        f"pace:    {decimal(plan.images_per_s)} images/s{spread}; {_NAMES[plan.bottleneck]} {verb} it",
        f"cores:   a host's {decimal(plan.fleet.cores_per_host)} can serve {decimal(plan.cards_carried)} such cards"
        + ("; they are full" if plan.cores_are_full else ""),
        f"time:    {_hours(plan.hours)}"
        + (f" ({_hours(plan.hours_low)} to {_hours(plan.hours_high)})" if spread else ""),
    ]
    if plan.deadline_hours is not None:
        needed = (
            f"needs {plural(plan.hosts_needed, 'host')}"
            if plan.hosts_needed is not None
            else f"cannot be met by more hosts: {_NAMES[plan.deadline_limit]} would be the limit"
        )
        lines.append(f"{_hours(plan.deadline_hours)}: {needed}")
    return lines


def _footprint(plan: FleetPlan) -> list[str]:
    one = plan.footprint
    runs = (
        "one run" if one.runs == 1 else f"{plural(one.runs, 'run')} of {count(one.images)} images, each with"
    )
    return [
        f"{runs}: {count(one.shards)} shards, {count(one.part_files)} Parquet files with {size(one.result_bytes)}",
        f"  a commit log of {size(one.commit_log_bytes)}, {decimal(one.list_s)} s to list the images",
        f"  driver memory {size(one.driver_bytes)}; with truth to score against {size(one.scoring_bytes)} more",
    ]


def size(value: float) -> str:
    """Bytes in the unit that fits."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= limit:
            return f"{decimal(value / limit)} {unit}"
    return f"{decimal(value / 1e3)} kB"


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{decimal(hours * 60)} minutes"
    return f"{decimal(hours)} hours" if hours < 72 else f"{decimal(hours / 24)} days"
