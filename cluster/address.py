"""Which cluster a command joins; without Ray, for whoever only has to know."""

from __future__ import annotations

import os


def cluster_address(given: str | None) -> str | None:
    """The cluster to join: the one named, else inside a submitted job its own (RAY_ADDRESS), else none."""
    return given or os.environ.get("RAY_ADDRESS") or None
