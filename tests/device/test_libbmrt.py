"""libbmrt as on a host with a card, with the simulator's libraries standing where libsophon would."""

from __future__ import annotations

import os
import subprocess
import sys

from bmodel.libraries import find_simulator_libraries
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S

SCRIPT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from dataclasses import replace
import numpy as np
from bmodel.errors import DeviceError
from tests.device.cases import Case, random_batch
from tpu_worker.devices import open_device, resolve_device
case = Case(name="libbmrt", model="tiny_int8_1b_quantised")
print(resolve_device("libbmrt", model_path=case.path, spec=case.spec, cards=1))
devices = case.open(), replace(case, name="simulator").open()
results = [device.run(random_batch(case.spec)) for device in devices]
print(all(np.array_equal(one, other) for one, other in zip(*results)), len(results[0]))
try:
    open_device(replace(case.options, device_id=1))
except DeviceError as error:
    print(error)
"""


def test_libbmrt_finds_counts_and_runs(simulator: None) -> None:
    libraries = find_simulator_libraries()
    environment = {
        **os.environ,
        "RAYSAIL_LIBSOPHON": str(libraries.runtime.parent),
        # On a real host the driver is in the kernel; here it is a library that libbmlib has to find loaded.
        "LD_PRELOAD": str(libraries.load_order[0]),
    }
    outcome = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=HANG_S, env=environment
    )
    lines = outcome.stdout.splitlines()
    assert outcome.returncode == 0, outcome.stderr
    assert lines[:2] == ["libbmrt", "True 3"]
    assert lines[2].startswith("card 1 with")
    assert lines[2].endswith("the card's number must be below 1, the number of cards")


STATE_SCRIPT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from bmodel.errors import LibraryError
from tpu_worker.devices.libsophon import read_health
try:
    read_health(0)
except LibraryError as error:
    print(error)
"""


def test_the_vendors_library_without_a_card_tells_no_state_and_none_is_made_up(simulator: None) -> None:
    libraries = find_simulator_libraries()
    environment = {
        **os.environ,
        "RAYSAIL_LIBSOPHON": str(libraries.runtime.parent),
        "LD_PRELOAD": str(libraries.load_order[0]),
    }
    outcome = subprocess.run(
        [sys.executable, "-c", STATE_SCRIPT], capture_output=True, text=True, timeout=HANG_S, env=environment
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == ("card 0: this libsophon cannot tell its state: it has no bm_get_chip_temp\n")
