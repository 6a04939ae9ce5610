"""The suite for real cards is code that runs: here on SAIL's stand-in, with the simulator's libraries for libsophon."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping

import pytest

from bmodel.libraries import find_simulator_libraries
from cluster.cards.find_cards import find_cards
from tests.device.cases import FAKES
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tpu_worker.devices.choose_device import has_sail

# A contract's question of every network and library would take minutes here; on a card it takes seconds.
CHOSEN = "not int8 or quantised"


@pytest.fixture(autouse=True)
def _without_a_card_or_sail() -> None:
    if has_sail() or find_cards().device_ids:
        pytest.skip("this host has SAIL or a card of its own: run tests/card itself")


def run_suite(*options: str, environment: Mapping[str, str] | None = None) -> str:
    """Run tests/card in a process of its own; returns what pytest printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/card", *options],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def skipped(text: str) -> set[str]:
    """The reasons in pytest's summary, up to their first colon."""
    return set(re.findall(r"^SKIPPED \[\d+\] \S+ ([^:]+):", text, re.MULTILINE))


def test_without_a_card_everything_is_skipped_aloud() -> None:
    text = run_suite()
    assert skipped(text) == {"NO CARD"}
    assert re.search(r"^\d+ skipped in", text, re.MULTILINE), text


def test_the_suite_passes_on_the_stand_in(simulator: None) -> None:
    libraries = find_simulator_libraries()
    folder = str(libraries.runtime.parent)
    text = run_suite(
        *("-k", f"({CHOSEN}) and not test_card_job"),
        environment={
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(FAKES)]),
            "RAYSAIL_LIBRARIES": folder,
            "RAYSAIL_LIBSOPHON": folder,
            # On a real host the driver is in the kernel; here it is a library that libbmlib has to find loaded.
            "LD_PRELOAD": str(libraries.load_order[0]),
            "RAYSAIL_SOAK_S": "2",
        },
    )
    # Nothing is left out but what needs a device file, and the state of which the simulator's libbmlib tells nothing.
    assert skipped(text) == {"NO DEVICE FILE", "NO STATE"}
    counted = re.search(r"^(\d+) passed, 2 skipped", text, re.MULTILINE)
    assert counted, text
    assert int(counted[1]) > 60
