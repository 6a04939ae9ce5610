"""The device contract on a real card, exactness against the simulator, and a soak. How to run it: docs/devices.md."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bmodel.errors import DeviceError, LibraryError
from bmodel.libraries import find_simulator_libraries
from tests.device.cases import FP32, INT8, Case, random_batch

# The same questions as of every other device, asked with this module's `device`.
from tests.device.test_contract import (  # noqa: F401
    test_other_arguments_are_refused,
    test_outputs_are_the_specs_and_the_callers_own,
    test_results_follow_the_input_and_nothing_else,
    test_the_argument_is_never_changed,
    test_threads_take_turns_and_get_their_own_results,
)
from tpu_worker.devices import Device, open_device
from tpu_worker.devices.choose_device import has_libsophon, has_sail

pytestmark = pytest.mark.card

CASES = [Case(name=name, model=model) for name in ("sail", "libbmrt") for model in (*FP32, *INT8)]
SOAK_S = float(os.environ.get("RAYSAIL_SOAK_S", "300"))
# What a process may grow by after its first minute; a leaked output would take as much within seconds.
GROWTH_BYTES = 64 << 20


def open_on(case: Case, card_id: int) -> Device:
    if case.name == "sail" and not has_sail():
        pytest.skip("NO SAIL: sophon.sail is not installed for this Python")
    if case.name == "libbmrt" and not has_libsophon():
        pytest.skip("NO LIBSOPHON: it is not installed where RAYSAIL_LIBSOPHON or its package would have it")
    return open_device(replace(case.options, device_id=card_id))


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture(scope="module")
def device(case: Case, card_id: int) -> Iterator[Device]:
    opened = open_on(case, card_id)
    yield opened
    opened.close()


def test_the_card_equals_the_simulator(case: Case, card_id: int) -> None:
    """Compared in numbers, not in bits: printed with -s, to be sent back."""
    try:
        find_simulator_libraries()
    except LibraryError as error:
        pytest.skip(str(error))
    devices = open_on(case, card_id), Case(name="simulator", model=case.model).open()
    batch = random_batch(case.spec)
    for one, other, tensor in zip(*(device.run(batch) for device in devices), case.spec.outputs, strict=True):
        print(f"{case} {tensor.name}: largest difference {np.abs(one - other).max():.3g}")  # noqa: T201
        # A quantised output may fall on the other side of one step.
        np.testing.assert_allclose(
            one, other, rtol=1e-4, atol=max(1e-3, 1.01 * tensor.scale * (tensor.dtype != "float32"))
        )
    for device in devices:
        device.close()


def test_a_card_that_is_not_there_is_refused(card_id: int) -> None:
    case = CASES[0] if has_sail() else CASES[len(CASES) // 2]
    with pytest.raises(DeviceError, match="card 99"):
        open_on(case, 99)


def test_minutes_of_launches_give_the_same_result_and_take_no_memory(card_id: int) -> None:
    case = CASES[1] if has_sail() else CASES[len(CASES) // 2 + 1]
    device = open_on(case, card_id)
    batch = random_batch(case.spec)
    expected = device.run(batch)
    started, launches, grown_from = time.monotonic(), 0, 0
    while (elapsed_s := time.monotonic() - started) < SOAK_S:
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
