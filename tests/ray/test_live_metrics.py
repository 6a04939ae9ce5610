"""A job's progress as Prometheus would see it: counters and histograms by card, at the nodes' own exporters."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections import defaultdict
from pathlib import Path

import pytest
import ray

from cluster.connect import connected
from cluster.node import NodeOptions, exporters_list
from tests.helpers.job_runs import finished, metrics, options_of
from tests.helpers.processes import HANG_S
from tests.ray.conftest import SharedCluster

SERIES = re.compile(r"^(ray_raysail_\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)

Totals = dict[tuple[str, str], float]


def scrape(port: int) -> Totals:
    """Every raysail series of a node, added up over workers: by name, and by the tags that are ours."""
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    totals: dict[tuple[str, str], float] = defaultdict(float)
    for name, labels, value in SERIES.findall(text):
        tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        told = ",".join(tags[tag] for tag in ("card", "status", "stage") if tag in tags)
        if not name.endswith("_bucket"):
            totals[name, told] += float(value)
    return dict(totals)


@pytest.fixture(scope="module")
def exporter(cluster: SharedCluster) -> int:
    with connected(cluster.address, local_resources={}):
        [node] = ray.nodes()
        return int(node["MetricsExportPort"])


def test_the_exporters_are_listed_where_prometheus_is_sent(cluster: SharedCluster, exporter: int) -> None:
    port = int(cluster.address.rpartition(":")[2])
    path = exporters_list(NodeOptions(address=None, port=port, resources={}))
    deadline = time.monotonic() + HANG_S
    listed: list[str] = []
    while not listed and time.monotonic() < deadline:  # Ray writes the list anew every few seconds
        time.sleep(0.5)
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        listed = [target for one in found for target in one["targets"] if target.endswith(f":{exporter}")]
    assert listed, path


def test_a_cards_images_stages_and_starts_are_counted(
    cluster: SharedCluster, pictures: Path, exporter: int, tmp_path: Path
) -> None:
    before = scrape(exporter)
    run = tmp_path / "run"
    # As long as two of Ray's exports are apart: what a worker counted is sent while it lives.
    options = {"images": pictures, "device": "timed", "service-ms": 600, "cards": 1, "shard-size": 4}
    finished(*options_of({**options, "output": run, "address": cluster.address}))
    card = metrics(run)["cards"][0]["card"]
    deadline = time.monotonic() + HANG_S

    def grown(name: str, told: str) -> float:
        return after.get((name, told), 0.0) - before.get((name, told), 0.0)

    while True:
        after = scrape(exporter)
        images = grown("ray_raysail_images_total", f"{card},ok")
        if images or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert 4 <= images <= 40
    assert grown("ray_raysail_worker_starts_total", card) == 1
    assert grown("ray_raysail_detections_total", card) > 0
    for stage in ("read", "preprocess", "inference", "postprocess"):
        assert grown("ray_raysail_stage_ms_count", f"{card},{stage}") == images
    # A machine that stalls makes it more; another unit, or another stage's, would be far off.
    inference_ms = grown("ray_raysail_stage_spent_ms_total", f"{card},inference") / images
    assert 600 <= inference_ms < 3000
