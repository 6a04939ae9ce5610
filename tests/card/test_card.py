"""Exactness against the simulator, and a soak, on a real card. How to run it: docs/devices.md."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bmodel.errors import DeviceError, LibraryError
from bmodel.libraries import find_simulator_libraries
from tests.card.cases import CASES, any_case, on_card
from tests.device.cases import Case, random_batch
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.card

SOAK_S = float(os.environ.get("RAYSAIL_SOAK_S", "300"))
# What a process may grow by after its first minute; a leaked output would take as much within seconds.
GROWTH_BYTES = 64 << 20
SIMULATE = """
import sys
sys.path.insert(0, {root!r})
import numpy as np
from tests.device.cases import Case, random_batch
device = Case(name="simulator", model={model!r}).open()
np.savez({path!r}, *device.run(random_batch(device.spec)))
device.close()
"""


def by_the_simulator(model: str, folder: Path) -> list[NDArray[np.float32]]:
    """A network's outputs of the random batch.

    From a process of its own: the simulator's libraries bear the same names as the card's, and in one process the
    second ones would be linked to the first.
    """
    try:
        find_simulator_libraries()
    except LibraryError as error:
        pytest.skip(str(error))
    path = folder / "outputs.npz"
    script = SIMULATE.format(root=str(ROOT), model=model, path=str(path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(path) as outputs:
        return [outputs[name] for name in outputs.files]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_card_equals_the_simulator(case: Case, card_id: int, tmp_path: Path) -> None:
    """Compared in numbers, not in bits: printed with -s, to be sent back."""
    device = on_card(case, card_id).open()
    found = device.run(random_batch(case.spec))
    device.close()
    wanted = by_the_simulator(case.model, tmp_path)
    for one, other, tensor in zip(found, wanted, case.spec.outputs, strict=True):
        print(f"{case} {tensor.name}: largest difference {np.abs(one - other).max():.3g}")  # noqa: T201
        # A quantised output may fall on the other side of one step.
        step = tensor.scale if tensor.dtype != "float32" else 0.0
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=max(1e-3, 1.01 * step))


def test_a_card_that_is_not_there_is_refused(card_id: int) -> None:
    with pytest.raises(DeviceError, match="card 99"):
        replace(any_case("tiny_fp32_1b", card_id), device_id=99).open()


def test_minutes_of_launches_give_the_same_result_and_take_no_memory(card_id: int) -> None:
    case = any_case("tiny_fp32_4b", card_id)
    device = case.open()
    batch = random_batch(case.spec)
    expected = device.run(batch)
    started, launches, grown_from = time.monotonic(), 0, 0
    while (elapsed_s := time.monotonic() - started) < SOAK_S or launches < 2:
        for output, wanted in zip(device.run(batch), expected, strict=True):
            np.testing.assert_array_equal(output, wanted)
        launches += 1
        if not grown_from and elapsed_s > min(60.0, SOAK_S / 5):
            grown_from = resident_bytes()
    print(f"{case}: {launches} launches in {elapsed_s:.0f} s")  # noqa: T201
    device.close()
    assert launches > 1
    assert resident_bytes() - grown_from < GROWTH_BYTES


def resident_bytes() -> int:
    """Memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
