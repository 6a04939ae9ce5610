"""Which processes of this host use a card, whoever started them: what its lock says, and what /proc shows."""

from __future__ import annotations

import os
from pathlib import Path

from cluster.card_lock import lock_holder, real_card_lock_path


def card_users(
    device_id: int, *, device_folder: Path = Path("/dev"), proc: Path = Path("/proc")
) -> list[str]:
    """Everybody known to use a card, a phrase each; other users' processes show only to root."""
    holder = lock_holder(real_card_lock_path(device_id))
    users = [] if holder is None else [f"{holder} (Raysail's lock)"]
    return users + [
        f"process {pid} ({name})" for pid, name in open_files(device_folder / f"bm-sophon{device_id}", proc)
    ]


def open_files(device: Path, proc: Path = Path("/proc")) -> list[tuple[int, str]]:
    """The other processes that have a device file open, as numbers and names, ascending."""
    found = []
    for folder in proc.glob("[0-9]*"):
        pid = int(folder.name)
        if pid != os.getpid() and _has_open(folder / "fd", str(device)):
            found.append((pid, _name(folder)))
    return sorted(found)


def _has_open(descriptors: Path, target: str) -> bool:
    try:
        return any(str(entry.readlink()) == target for entry in descriptors.iterdir())
    except OSError:  # it ended meanwhile, or belongs to somebody else
        return False


def _name(folder: Path) -> str:
    try:
        return (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "ended meanwhile"
