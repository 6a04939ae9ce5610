"""Finds this host's cards: by SAIL, by libsophon, or by their device files, and names the source."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bmodel.errors import ConfigurationError
from cluster.cards.isolated_query import count_cards

DEVICE_FILE = re.compile(r"bm-sophon(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundCards:
    """The card numbers of this host, ascending, and the source that listed them.

    left_out: cards that must not be used. sail_error: why SAIL, which is there, does not load; empty when
    it does.
    """

    device_ids: tuple[int, ...]
    source: Literal["sail", "libsophon", "device files"]
    left_out: tuple[int, ...] = ()
    sail_error: str = ""


def find_cards(*, exclude: Iterable[int] = (), device_folder: Path = Path("/dev")) -> FoundCards:
    """Find the cards, leaving out those in `exclude`.

    Raises ConfigurationError when one of those is not there, DeviceError when the driver does not answer.
    """
    counted = count_cards()
    if counted.count is None:
        ids = tuple(sorted(_by_device_files(device_folder)))
        found = FoundCards(device_ids=ids, source="device files", sail_error=counted.sail_error)
    else:
        found = FoundCards(
            device_ids=tuple(range(counted.count)), source=counted.source, sail_error=counted.sail_error
        )
    return _without(found, sorted(set(exclude)))


def _without(found: FoundCards, exclude: list[int]) -> FoundCards:
    # A card that the user believes to be left out, and that is not, may be in somebody else's use.
    if missing := [device_id for device_id in exclude if device_id not in found.device_ids]:
        there = (
            f"its cards are {', '.join(map(str, found.device_ids))}" if found.device_ids else "it has none"
        )
        raise ConfigurationError(
            f"--exclude: must name cards of this host, got {', '.join(map(str, missing))}; {there}, by {found.source}"
        )
    kept = tuple(device_id for device_id in found.device_ids if device_id not in exclude)
    return replace(found, device_ids=kept, left_out=tuple(exclude))


def _by_device_files(folder: Path) -> set[int]:
    return {
        int(match[1]) for path in folder.glob("bm-sophon*") if (match := DEVICE_FILE.fullmatch(path.name))
    }
