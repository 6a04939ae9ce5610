"""Which processes of this host use a card, whoever started them: what its lock says, and what /proc shows.

Of the driver's device files only a card's own counts, /dev/bm-sophonN: a process that only counts the cards has the other
one open, /dev/bmdev-ctl. Where other processes are hidden, as in a container or from another user, nothing is found.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.cards.card_lock import lock_holder, real_card_lock_path

DEVICES = Path("/dev")
# Raysail's actors that read cards' state: SAIL before 3.9.1 keeps those cards open, but nothing runs on them.
_ONLY_ASKS = b"ray::HealthSampler"


@dataclass(frozen=True, kw_only=True, slots=True)
class CardUser:
    """A process that has a card open. name: its program's, as the kernel keeps it, at most 15 characters."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name})"


def card_users(device_id: int, *, device_folder: Path = DEVICES, proc: Path = Path("/proc")) -> list[str]:
    """Everybody known to use a card, one phrase each; other users' processes show only to root."""
    holder = lock_holder(real_card_lock_path(device_id))
    users = [] if holder is None else [f"{holder} (Raysail's lock)"]
    return users + [str(user) for user in open_card(device_id, device_folder=device_folder, proc=proc)]


def open_card(device_id: int, *, device_folder: Path = DEVICES, proc: Path = Path("/proc")) -> list[CardUser]:
    """The other processes that have a card open, in the order of their numbers."""
    try:
        device = (device_folder / f"bm-sophon{device_id}").stat()
    except OSError:  # a stand-in's card has no file
        return []
    return sorted(_open_by(device, proc), key=lambda user: user.pid)


def _open_by(device: os.stat_result, proc: Path) -> Iterator[CardUser]:
    for folder in proc.glob("[0-9]*"):
        pid = int(folder.name)
        if pid != os.getpid() and _has_open(folder / "fd", device) and not _only_asks(folder):
            yield CardUser(pid=pid, name=_name(folder))


def _has_open(descriptors: Path, device: os.stat_result) -> bool:
    try:
        entries = list(descriptors.iterdir())
    except OSError:  # it ended meanwhile, or belongs to another user
        return False
    return any(_is_card(entry, device) for entry in entries)


def _is_card(entry: Path, device: os.stat_result) -> bool:
    try:
        # By its name first: a stat of every file might wait for a network file system.
        return "/bm-sophon" in str(entry.readlink()) and _is_same(entry.stat(), device)
    except OSError:  # this one file was closed meanwhile
        return False


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two files are one card: a container may have it in a /dev of its own, under another number."""
    if stat.S_ISCHR(one.st_mode) and stat.S_ISCHR(other.st_mode):
        return one.st_rdev == other.st_rdev
    return os.path.samestat(one, other)


def _only_asks(folder: Path) -> bool:
    try:
        return (folder / "cmdline").read_bytes().startswith(_ONLY_ASKS)
    except OSError:
        return False


def _name(folder: Path) -> str:
    try:
        return (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "ended meanwhile"
