"""A real card, or a loud skip."""

from __future__ import annotations

import pytest

from cluster.find_cards import find_cards


@pytest.fixture(scope="session")
def card_id() -> int:
    """The number of the first card of this host."""
    found = find_cards()
    if not found.device_ids:
        pytest.skip(
            f"NO CARD: this host has no BM1684 (asked {found.source}); nothing of the card was tested"
        )
    return found.device_ids[0]
