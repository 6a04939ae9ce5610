"""A real card, or a loud skip."""

from __future__ import annotations

import pytest

from cluster.cards.card_slots import card_numbers
from cluster.cards.find_cards import find_cards
from tests.card.cases import EXCLUDE


@pytest.fixture(scope="session")
def card_id() -> int:
    """The number of the first card of this host, but for those that are to be left alone."""
    found = find_cards(exclude=card_numbers(EXCLUDE) if EXCLUDE else ())
    if not found.device_ids:
        pytest.skip(
            f"NO CARD: this host has no BM1684 to test (asked {found.source}); nothing of the card was tested"
        )
    return found.device_ids[0]
