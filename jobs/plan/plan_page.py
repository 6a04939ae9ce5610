"""A plan as people read it in a terminal, and as a row of a table."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.plan.fleet_model import Station
from jobs.plan.make_plan import FleetPlan
from jobs.report.format import TIMES, count, decimal, plural

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
    """The whole plan, a fact a line."""
    return (
        "\n".join(
            [*_question(plan), "", *_stations(plan.stations), "", *_answer(plan), "", *_paperwork(plan)]
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
        f"card:    {card.image_ms:.4g}{spread} ms an image, {card.source}",
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


def _paperwork(plan: FleetPlan) -> list[str]:
    paper = plan.paperwork
    runs = (
        "one run"
        if paper.runs == 1
        else f"{plural(paper.runs, 'run')} of {count(paper.images)} images, each with"
    )
    return [
        f"{runs}: {count(paper.shards)} shards, {count(paper.part_files)} Parquet files with {size(paper.result_bytes)}",
        f"  a commit log of {size(paper.commit_log_bytes)}, {decimal(paper.list_s)} s to list the images",
        f"  driver memory {size(paper.driver_bytes)}; with truth to score against {size(paper.scoring_bytes)} more",
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
