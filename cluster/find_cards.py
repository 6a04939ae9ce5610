"""Finds this host's cards: by SAIL, by libsophon, or by their device files, and says by which."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DEVICE_FILE = re.compile(r"bm-sophon(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundCards:
    """The card numbers of this host, ascending, and who told."""

    device_ids: tuple[int, ...]
    source: Literal["sail", "libsophon", "device files"]


def find_cards(*, exclude: Iterable[int] = (), device_folder: Path = Path("/dev")) -> FoundCards:
    """Find the cards, leaving out those in `exclude`."""
    excluded = set(exclude)
    for source, count in (("sail", _count_by_sail()), ("libsophon", _count_by_libsophon())):
        if count is not None:
            ids = tuple(device_id for device_id in range(count) if device_id not in excluded)
            return FoundCards(device_ids=ids, source="sail" if source == "sail" else "libsophon")
    ids = tuple(sorted(_by_device_files(device_folder) - excluded))
    return FoundCards(device_ids=ids, source="device files")


def _count_by_sail() -> int | None:
    from tpu_worker.devices.choose_device import has_sail

    if not has_sail():
        return None
    from tpu_worker.devices.sail import card_count

    return card_count()


def _count_by_libsophon() -> int | None:
    from tpu_worker.devices.libsophon import card_count

    return card_count()


def _by_device_files(folder: Path) -> set[int]:
    return {
        int(match[1]) for path in folder.glob("bm-sophon*") if (match := DEVICE_FILE.fullmatch(path.name))
    }
