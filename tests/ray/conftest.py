"""One cluster for the whole tier, as `raysail node start` makes it: virtual cards, tokens, job server."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from bmodel.errors import LibraryError
from bmodel.libraries import find_simulator_libraries
from cluster.cards.card_slots import card_resources
from cluster.cards.find_cards import find_cards
from cluster.node import NodeOptions, exporters_list, start_node, stop_node
from tests.helpers.job_runs import write_pictures
from tests.helpers.paths import ROOT
from tpu_worker.devices.choose_device import has_sail

CARDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedCluster:
    """address: of the head. jobs_url: of its job server. environment: what a client that has the token sets."""

    address: str
    jobs_url: str
    environment: dict[str, str]


def free_port() -> int:
    """A port that nobody listens at, of those that are given to nobody who asks for just any, as Ray's processes do."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise AssertionError("a hundred ports are taken")


def _simulator() -> dict[str, str]:
    """Where the simulator's libraries are, if they are: the cluster's own cache is an empty one."""
    try:
        return {"RAYSAIL_LIBRARIES": str(find_simulator_libraries().runtime.parent)}
    except LibraryError:
        return {}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedCluster]:
    home = tmp_path_factory.mktemp("home")
    token = home / "auth_token"
    token.write_text("0123456789abcdef" * 4, encoding="utf-8")
    environment = {"RAY_AUTH_TOKEN_PATH": str(token), "RAYSAIL_CACHE": str(home / "cache"), **_simulator()}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    dashboard_port = free_port()
    options = NodeOptions(
        address=None,
        port=free_port(),
        resources=card_resources(range(CARDS), virtual=True),
        dashboard_port=dashboard_port,
    )
    try:
        node = start_node(options)
        yield SharedCluster(
            address=node.address,
            jobs_url=f"http://127.0.0.1:{dashboard_port}",
            environment={"RAY_AUTH_TOKEN_PATH": str(token), "RAY_AUTH_MODE": "token"},
        )
    finally:
        stop_node()
        shutil.rmtree(exporters_list(options).parent, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def sail_stand_in() -> dict[str, str]:
    """What a job's environment needs for SAIL's stand-in to be its host's one card; skips where a real SAIL is."""
    if has_sail() or find_cards().device_ids:
        pytest.skip("this host has SAIL or a card of its own: tests/card asks it")
    try:
        libraries = find_simulator_libraries()
    except LibraryError as error:
        pytest.skip(str(error))
    return {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/fakes")]),
        "RAYSAIL_LIBRARIES": str(libraries.runtime.parent),
        "RAY_ADDRESS": "",
    }


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small pictures."""
    return write_pictures(tmp_path_factory.mktemp("pictures"), 40)
