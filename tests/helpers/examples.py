"""How many examples a property is tried on: few and the same in `make test`, many and fresh ones in `make fuzz`.

RAYSAIL_EXAMPLES names the profile: `few` (where it is not set) or `fuzz`. RAYSAIL_FUZZ_EXAMPLES is how many a fuzz
takes per property (2,000).
"""

from __future__ import annotations

import os

from hypothesis import settings

FEW = 40
MANY = 2000


def load_profile() -> None:
    """Take the profile that the environment names, before any property is read."""
    # The same few every time: a run that fails can be repeated, and one that passed is no matter of luck.
    settings.register_profile("few", derandomize=True, max_examples=FEW, deadline=None, print_blob=True)
    many = int(os.environ.get("RAYSAIL_FUZZ_EXAMPLES", MANY))
    settings.register_profile("fuzz", derandomize=False, max_examples=many, deadline=None, print_blob=True)
    settings.load_profile(os.environ.get("RAYSAIL_EXAMPLES", "few"))


def times(share: float) -> settings:
    """So many times the profile's examples: more where they are cheap or the space is wide, fewer where they are slow."""
    return settings(max_examples=max(1, int(settings().max_examples * share)))
