"""What `raysail doctor` asks about Ray: is the cluster there, does it let us in, does it keep strangers out."""

from __future__ import annotations

import platform
import socket
from collections.abc import Iterator
from importlib.metadata import version

from bmodel.errors import RunError
from cluster.address import cluster_address
from cluster.cluster_status import ClusterLook, look_at
from cluster.node import has_token
from jobs.doctor.checks import Check

CONNECT_WITHIN_S = 5.0
TOKEN_HINT = "copy the head's ~/.ray/auth_token here, or set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"  # noqa: S105


def check_cluster(address: str | None) -> Iterator[Check]:
    """The cluster of an option or of RAY_ADDRESS; without one there is nothing to reach."""
    address = cluster_address(address)
    if not address:
        hint = "none named: a job starts a local one for itself; --address HOST:PORT checks another"
        yield Check(name="Ray cluster", status="note", found=f"Ray {version('ray')}, no cluster", hint=hint)
        return
    if (reason := _why_unreachable(address)) is not None:
        hint = "is the head up ('raysail node start --head'), its port open, and is this its host:port?"
        yield Check(name="Ray cluster", status="fail", found=f"'{address}': {reason}", hint=hint)
        return
    try:
        look = look_at(address)
    except RunError as error:
        hint = TOKEN_HINT if "token" in str(error).lower() or not has_token() else "see the head's log"
        yield Check(name="Ray cluster", status="fail", found=str(error), hint=hint)
        return
    yield from describe(address, look)


def describe(address: str, look: ClusterLook) -> Iterator[Check]:
    """What a look at a cluster says."""
    cards = f"{look.real_cards} cards, {look.virtual_cards} virtual ones"
    found = f"'{address}': {look.nodes} node(s), {cards}, Ray {look.ray_version or 'of unknown version'}"
    mine = {
        "Ray": (look.ray_version, version("ray")),
        "Python": (look.python_version, platform.python_version()),
    }
    other = [
        f"{name} {theirs} there, {own} here"
        for name, (theirs, own) in mine.items()
        if theirs not in {"", own}
    ]
    hint = f"Ray wants the same versions everywhere: {'; '.join(other)}" if other else ""
    yield Check(name="Ray cluster", status="fail" if other else "ok", found=found, hint=hint)
    if look.wants_token:
        yield Check(name="Ray token", status="ok", found="the cluster refuses a client without its token")
    else:
        hint = "whoever reaches it runs code on it: start it with 'raysail node start', or set RAY_AUTH_MODE=token"
        yield Check(name="Ray token", status="fail", found="the cluster lets in everybody", hint=hint)


def _why_unreachable(address: str) -> str | None:
    host, _, port = address.rpartition(":")
    if not port.isdigit() or not host:
        return "must be HOST:PORT"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        return f"nothing answers there ({getattr(error, 'strerror', None) or error})"
    return None
