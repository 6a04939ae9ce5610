"""Queries a running cluster without joining it: whether it admits this client, whether it keeps strangers out, its cards.

In a separate process, since Ray settles a process's authentication once and ends a process that it rejects.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bmodel.errors import RunError
from cluster.cards.card_slots import registered_slots
from cluster.node import has_token

TIMEOUT_S = 40.0
_PROGRAM = """
import json, sys
from ray._raylet import GcsClient
from ray._common.usage.usage_lib import get_cluster_metadata
client = GcsClient(address=sys.argv[1])
nodes = [
    {"NodeID": node.node_id.hex(), "NodeManagerHostname": node.node_manager_hostname,
     "Alive": node.state == 0, "Resources": dict(node.resources_total)}
    for node in client.get_all_node_info(timeout=10).values()
]
print("raysail:" + json.dumps({"nodes": nodes, "versions": get_cluster_metadata(client) or {}}))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterStatus:
    """A cluster as a client with this environment's token sees it; versions are empty where it does not give them.

    wants_token: whether it refuses a client without a token.
    """

    nodes: int
    real_cards: int
    virtual_cards: int
    ray_version: str
    python_version: str
    wants_token: bool


def query_cluster(address: str) -> ClusterStatus:
    """Ask the cluster at host:port; raises RunError with Ray's reason when it does not answer or lets nobody in."""
    own = {"RAY_AUTH_MODE": "token"} if has_token() else {"RAY_AUTH_MODE": "disabled"}
    told = _query(address, own)
    stranger = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": os.devnull}
    try:
        _query(address, stranger)
        wants_token = False
    except RunError:
        wants_token = True
    nodes = [node for node in told["nodes"] if node["Alive"]]
    return ClusterStatus(
        nodes=len(nodes),
        real_cards=len(registered_slots(nodes, virtual=False)),
        virtual_cards=len(registered_slots(nodes, virtual=True)),
        ray_version=str(told["versions"].get("ray_version", "")),
        python_version=str(told["versions"].get("python_version", "")),
        wants_token=wants_token,
    )


def _query(address: str, authentication: Mapping[str, str]) -> dict[str, Any]:
    environment = {**os.environ, **authentication}
    command = [sys.executable, "-c", _PROGRAM, address]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise RunError(f"the cluster at '{address}' gave no answer within {TIMEOUT_S:.0f} s") from None
    for line in done.stdout.splitlines():
        if line.startswith("raysail:"):
            return dict(json.loads(line.removeprefix("raysail:")))
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    raise RunError(f"the cluster at '{address}' refused: {lines[-1] if lines else 'no reason given'}")
