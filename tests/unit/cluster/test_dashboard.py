"""The Grafana dashboard asks only for metrics that the code registers, by labels that they have."""

from __future__ import annotations

import json
import os
import re
import tempfile
from typing import Any

import pytest
import yaml

from cluster.health.card_health import FAULTY_CELSIUS, SLOWED_CELSIUS
from cluster.node import NodeOptions, exporters_list
from cluster.pool.live_metrics import ALL, STAGE_BOUNDARIES_MS
from cluster.pool.results import IMAGES_SCHEMA
from tests.helpers.paths import ROOT
from tpu_worker.devices.sail import CardHealth
from tpu_worker.values import STAGES

DASHBOARD = ROOT / "cluster" / "grafana" / "raysail.json"
SERIES = {name: metric for metric in ALL for name in metric.exported}
# Prometheus knows what a histogram's bucket is by this label.
OWN_LABELS = {"le"}


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return dict(json.loads(DASHBOARD.read_text(encoding="utf-8")))


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_every_metric_asked_for_is_one_that_is_registered(dashboard: dict[str, Any]) -> None:
    variables = [
        variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable
    ]
    asked = {
        name for text in [*expressions(dashboard), *variables] for name in re.findall(r"\bray_\w+", text)
    }
    assert asked <= set(SERIES)
    # And the other way round: each metric is shown somewhere.
    assert {SERIES[name].name for name in asked} == {metric.name for metric in ALL}


def test_every_label_is_one_that_the_metric_has(dashboard: dict[str, Any]) -> None:
    for expression in expressions(dashboard):
        for name, selector in re.findall(r"\b(ray_\w+)\{([^}]*)\}", expression):
            labels = set(re.findall(r"(\w+)\s*=", selector))
            assert labels <= set(SERIES[name].tags), expression
        for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
            wanted = {label.strip() for label in grouped.split(",")} - OWN_LABELS
            names = re.findall(r"\bray_\w+", expression)
            assert all(wanted <= set(SERIES[name].tags) for name in names), expression


def test_counters_are_shown_as_rates_and_gauges_as_they_are(dashboard: dict[str, Any]) -> None:
    for expression in expressions(dashboard):
        for found in re.finditer(r"\bray_\w+", expression):
            before = expression[: found.start()]
            is_rate = before.endswith(("rate(", "increase("))
            assert is_rate == (SERIES[found.group()].kind != "gauge"), expression


def test_panels_do_not_overlap_and_have_numbers_of_their_own(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_temperatures_turn_colour_where_the_driver_acts(dashboard: dict[str, Any]) -> None:
    steps = [
        [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        for panel in dashboard["panels"]
        if "thresholds" in panel["fieldConfig"]["defaults"]
    ]
    assert steps == [[None, SLOWED_CELSIUS, FAULTY_CELSIUS]] * 2


def test_metrics_are_of_what_the_tables_and_the_cards_have() -> None:
    assert {f"{stage}_ms" for stage in STAGES} <= set(IMAGES_SCHEMA.names)
    assert list(STAGE_BOUNDARIES_MS) == sorted(set(STAGE_BOUNDARIES_MS))
    gauges = {metric.name.removeprefix("raysail_card_") for metric in ALL if metric.kind == "gauge"}
    assert gauges <= set(CardHealth.__dataclass_fields__)


def test_prometheus_reads_the_list_that_ray_writes() -> None:
    content = yaml.safe_load((DASHBOARD.parent / "prometheus.yml").read_text(encoding="utf-8"))
    [job] = content["scrape_configs"]
    [listed] = job["file_sd_configs"]
    mine = exporters_list(NodeOptions(address=None, port=6379, resources={}))
    path = str(mine.relative_to(tempfile.gettempdir())).replace(f"-{os.getuid()}-", "-1000-")
    assert listed["files"] == [f"/tmp/{path}", f"/tmp/ray/{mine.name}"]
