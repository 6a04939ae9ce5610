"""What every device promises, asked of each one alike."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bmodel.errors import DeviceError, ModelFileError
from tests.device.cases import CASES, Case, import_paths, random_batch
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tpu_worker.devices import Device, open_device

ONE_EACH = [case for case in CASES if case.model == "tiny_fp32_1b"]
OF_FOUR = [case for case in CASES if case.model == "tiny_fp32_4b"]
OF_FILES = [case for case in ONE_EACH if case.name != "timed"]
NATIVE = [case for case in ONE_EACH if case.name in {"simulator", "sail"}]


def chosen(request: pytest.FixtureRequest) -> Case:
    """The case of a parameter, with the library it needs."""
    case: Case = request.param
    if case.name in {"simulator", "sail"}:
        request.getfixturevalue(case.name)
    return case


# What the questions below are asked of. Those of real cards are in tests/card/test_card_contract.py, by the same names.
case = pytest.fixture(chosen, scope="module", params=CASES, ids=str, name="case")
one_of_each = pytest.fixture(chosen, scope="module", params=ONE_EACH, ids=str, name="one_of_each")
of_four = pytest.fixture(chosen, scope="module", params=OF_FOUR, ids=str, name="of_four")
of_file = pytest.fixture(chosen, scope="module", params=OF_FILES, ids=str, name="of_file")
native = pytest.fixture(chosen, scope="module", params=NATIVE, ids=str, name="native")


@pytest.fixture(scope="module")
def device(case: Case) -> Iterator[Device]:
    opened = case.open()
    yield opened
    opened.close()


def test_outputs_are_the_specs_and_the_callers_own(device: Device) -> None:
    batch = random_batch(device.spec)
    first = device.run(batch)
    assert [output.shape for output in first] == [tensor.shape for tensor in device.spec.outputs]
    assert {output.dtype for output in first} == {np.dtype(np.float32)}
    kept = [output.copy() for output in first]
    for output in first:
        output.fill(7)
    second = device.run(batch)
    for mine, again in zip(kept, second, strict=True):
        np.testing.assert_array_equal(again, mine)


def test_results_follow_the_input_and_nothing_else(device: Device) -> None:
    batches = [random_batch(device.spec, seed) for seed in (1, 2)]
    before = [device.run(batch) for batch in batches]
    after = [device.run(batch) for batch in reversed(batches)][::-1]
    for first, second in zip(before, after, strict=True):
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)
    assert any(not np.array_equal(one, other) for one, other in zip(*before, strict=True))


def test_the_argument_is_never_changed(device: Device) -> None:
    batch = random_batch(device.spec)
    expected = device.run(batch)
    frozen = batch.copy()
    frozen.flags.writeable = False
    # The same values in another order of memory: rows and columns exchanged.
    turned = np.ascontiguousarray(batch.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    assert not turned.flags.c_contiguous
    for argument in (frozen, turned):
        outputs = device.run(argument)
        np.testing.assert_array_equal(argument, batch)
        for output, wanted in zip(outputs, expected, strict=True):
            np.testing.assert_array_equal(output, wanted)


def test_each_image_of_a_batch_has_its_own_result(of_four: Case) -> None:
    device = of_four.open()
    assert device.spec.batch == 4
    batch = random_batch(device.spec)
    forward, backward = device.run(batch), device.run(batch[::-1].copy())
    for one, other in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(one, other[::-1])
    assert not np.array_equal(forward[0][0], forward[0][1])
    device.close()


def test_other_arguments_are_refused(device: Device) -> None:
    batch = random_batch(device.spec)
    for argument, message in (
        (batch.astype(np.float64), "must be float32, got float64"),
        (batch[0], "must have shape"),
        (batch[None], "must have shape"),
        (batch.reshape(batch.shape[0], 3, batch.shape[3], batch.shape[2]), "must have shape"),
        (np.concatenate([batch, batch]), "must have shape"),
        (batch.tolist(), "must be a numpy array, got list"),
    ):
        with pytest.raises(DeviceError, match=message):
            device.run(argument)  # type: ignore[arg-type]
    assert len(device.run(batch)) == len(device.spec.outputs)


def test_threads_take_turns_and_get_their_own_results(device: Device) -> None:
    batches = [random_batch(device.spec, seed) for seed in (3, 4)]
    expected = [device.run(batch) for batch in batches]
    mixed: list[int] = []

    def work(number: int) -> None:
        for _ in range(2):
            for output, wanted in zip(device.run(batches[number]), expected[number], strict=True):
                if not np.array_equal(output, wanted):
                    mixed.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mixed == []


def test_a_closed_device_refuses(one_of_each: Case) -> None:
    device = one_of_each.open()
    batch = random_batch(device.spec)
    device.run(batch)
    device.close()
    device.close()
    place = rf"card {one_of_each.device_id} with '.*tiny_fp32_1b.bmodel'"
    with pytest.raises(DeviceError, match=f"{place}: the device is closed"):
        device.run(batch)
    again = one_of_each.open()
    assert len(again.run(batch)) == len(again.spec.outputs)
    again.close()


def test_other_threads_run_meanwhile(one_of_each: Case) -> None:
    device = one_of_each.open()
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.001):
            ticks += 1

    batch = random_batch(device.spec)
    device.run(batch)
    thread = threading.Thread(target=tick)
    thread.start()
    counted: list[int] = []
    # The best of five: a busy machine gives the ticker few of its turns, a device that holds the GIL next to none.
    while len(counted) < 5 and max(counted, default=0) < 10:
        started, before = time.monotonic(), ticks
        while time.monotonic() - started < 0.5:
            device.run(batch)
        counted.append(ticks - before)
    done.set()
    thread.join()
    device.close()
    assert max(counted) >= 10, f"{counted} ticks in half a second each"


def test_a_file_that_is_not_the_specs_is_refused(of_file: Case, tmp_path: Path) -> None:
    options = of_file.options
    if of_file.name == "cpu":
        options = replace(options, spec=options.spec.model_copy(update={"source_sha256": "0" * 64}))
        with pytest.raises(ModelFileError, match="source_sha256: must be 000"):
            open_device(options)
        return
    other = Path(shutil.copy(ROOT / "bmodel/tiny_fp32_4b.bmodel", tmp_path / "other.bmodel"))
    cut = tmp_path / "cut.bmodel"
    cut.write_bytes(of_file.path.read_bytes()[:9000])
    for path, message in (
        (other, "file_sha256: must be"),
        (cut, "the file is cut off"),
        (tmp_path / "missing.bmodel", "there is no BModel file"),
    ):
        with pytest.raises(ModelFileError, match=message):
            open_device(replace(options, model_path=path))


SCRIPT = """
import os, sys
sys.path[:0] = {paths!r}
import numpy as np
from tests.device.cases import Case, random_batch
device = {case!r}.open()
batch = random_batch(device.spec)
device.run(batch)
{rest}
"""


def in_a_process(case: Case, rest: str) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(paths=import_paths(), case=case, rest=rest)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANG_S)


def test_a_process_may_end_without_closing_and_prints_nothing_of_its_own(one_of_each: Case) -> None:
    outcome = in_a_process(one_of_each, "print('the job'); print('its errors', file=sys.stderr)")
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "the job\n", "its errors\n")


def test_a_forked_child_is_refused_instead_of_hanging(native: Case) -> None:
    outcome = in_a_process(
        native,
        """
child = os.fork()
if child == 0:
    try:
        device.run(batch)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    os._exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(device.run(batch)))
""",
    )
    lines = outcome.stdout.splitlines()
    assert outcome.returncode == 0, outcome.stderr
    assert lines[0].startswith(f"DeviceError card {native.device_id} with")
    assert "opened before a fork" in lines[0]
    assert lines[1] == "5 3"


def test_two_devices_of_one_process_do_not_mix(native: Case) -> None:
    devices = [native.open(), native.open()]
    batches = [random_batch(native.spec, seed) for seed in (5, 6)]
    expected = [devices[0].run(batch) for batch in batches]
    for device, batch, wanted in zip(devices, batches, expected, strict=True):
        for output, right in zip(device.run(batch), wanted, strict=True):
            np.testing.assert_array_equal(output, right)
    for device in devices:
        device.close()
