"""The timed device: its clock, its answers, and its faults on request."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmodel.errors import DeviceError
from bmodel.sidecar import ModelSpec, TensorSpec
from tests.device.cases import random_batch
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tpu_worker.devices import Device, DeviceOptions, TimedOptions, open_device
from tpu_worker.devices.canned_boxes import BACKGROUND_LOGIT
from tpu_worker.devices.fault_file import Fault, parse_fault
from tpu_worker.devices.timed import is_poison, standard_spec

DECODED = ModelSpec(
    name="decoded",
    file_sha256="0" * 64,
    input=TensorSpec(name="images", shape=(2, 3, 64, 96)),
    outputs=(TensorSpec(name="boxes", shape=(2, 378, 8)),),
    layout="decoded",
    class_names=("car", "person", "bike"),
)


def timed(spec: ModelSpec | None = None, *, device_id: int = 0, **options: Any) -> Device:
    return open_device(
        DeviceOptions(
            name="timed",
            spec=spec or DECODED,
            model_path=None,
            device_id=device_id,
            timed=TimedOptions(**{"service_ms": 0.0, **options}),
        )
    )


def magenta(spec: ModelSpec) -> np.ndarray:
    batch = random_batch(spec)
    batch[-1] = np.array([1.0, 0.0, 1.0], np.float32)[:, None, None]
    return batch


def in_a_process(options: str, calls: int) -> subprocess.CompletedProcess[str]:
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.device.test_timed import *
device = timed({options})
for call in range({calls}):
    device.run(random_batch(DECODED))
    print(call + 1, flush=True)
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANG_S)


def test_a_launch_takes_the_service_time_and_hardly_more() -> None:
    device = timed(service_ms=30.0)
    batch = random_batch(DECODED)
    lasted_ms = []
    for _ in range(10):
        started = time.monotonic()
        device.run(batch)
        lasted_ms.append((time.monotonic() - started) * 1e3)
    assert min(lasted_ms) >= 30.0
    # The best of ten: how late a busy machine wakes a sleeper is not the device's doing.
    assert min(lasted_ms) < 33.0


def test_the_answer_depends_on_the_image_alone() -> None:
    batch = random_batch(DECODED)
    forward, backward = timed().run(batch)[0], timed().run(batch[::-1].copy())[0]
    np.testing.assert_array_equal(forward, backward[::-1])
    assert not np.array_equal(forward[0], forward[1])
    assert not np.array_equal(forward, timed(seed=1).run(batch)[0])


def test_decoded_boxes_lie_in_the_image() -> None:
    boxes = timed(boxes_per_image=5).run(random_batch(DECODED))[0]
    for image in boxes:
        found = image[image[:, 4] > 0.25]
        assert 1 <= len(found) <= 5
        assert (found[:, :2] >= 0).all()
        assert (found[:, :2] <= (96, 64)).all()
        assert (found[:, 5:].max(axis=1) >= 0.5).all()


def test_raw_heads_hold_as_many_boxes_as_asked_for_on_a_silent_background() -> None:
    spec = standard_spec(batch=1)
    assert sum(int(np.prod(output.shape[1:4])) for output in spec.outputs) == 25_200
    outputs = timed(spec, boxes_per_image=40).run(random_batch(spec))
    objectness = np.concatenate([output[..., 4].reshape(-1) for output in outputs])
    # Two boxes may fall into one cell.
    assert 36 <= int((objectness >= 0).sum()) <= 40
    assert set(objectness[objectness < 0]) == {np.float32(BACKGROUND_LOGIT)}
    silent = timed(spec, boxes_per_image=0).run(random_batch(spec))
    assert all((output == BACKGROUND_LOGIT).all() for output in silent)


def test_every_third_call_fails() -> None:
    device = timed(fail_every=3)
    for call in range(1, 8):
        if call in {3, 6}:
            with pytest.raises(DeviceError, match=f"card 0 with 'decoded': failed as asked, in call {call}"):
                device.run(random_batch(DECODED))
        else:
            device.run(random_batch(DECODED))


@pytest.mark.parametrize(
    ("option", "code"), [("die_at=3", 1), ("segfault_at=3", -11), ("poison='die', seed=2", 0)]
)
def test_a_process_dies_as_asked(option: str, code: int) -> None:
    outcome = in_a_process(option, calls=4)
    assert outcome.returncode == code
    assert outcome.stdout.split() == (["1", "2"] if code else ["1", "2", "3", "4"])


def test_a_call_hangs_as_asked() -> None:
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.device.test_timed import *
device = timed(hang_at=2)
device.run(random_batch(DECODED))
print("first", flush=True)
device.run(random_batch(DECODED))
print("second", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.kill()
        assert process.stdout.read() == ""


def test_a_magenta_image_is_poison_when_asked() -> None:
    batch = magenta(DECODED)
    assert [is_poison(image) for image in batch] == [False, True]
    assert len(timed().run(batch)) == 1
    device = timed(poison="fail")
    with pytest.raises(DeviceError, match="failed as asked"):
        device.run(batch)
    assert len(device.run(random_batch(DECODED))) == 1
    started = time.monotonic()
    timed(poison="slow").run(batch)
    assert time.monotonic() - started >= 1.0


def test_a_fault_file_is_taken_by_one_call(tmp_path: Path) -> None:
    path = tmp_path / "fault"
    devices = [timed(device_id=number, fault_file=path) for number in (0, 1)]
    batch = random_batch(DECODED)
    for device in devices:
        device.run(batch)
    path.write_text("fail device=1\n")
    devices[0].run(batch)
    with pytest.raises(DeviceError, match="card 1 with 'decoded': failed as asked, in call 2"):
        devices[1].run(batch)
    devices[1].run(batch)
    assert not path.exists()


def test_a_lasting_fault_is_disarmed_by_removing_the_file(tmp_path: Path) -> None:
    path = tmp_path / "fault"
    device = timed(fault_file=path)
    path.write_text("fail always")
    for _ in range(2):
        with pytest.raises(DeviceError):
            device.run(random_batch(DECODED))
    path.write_text("slow ms=120 always")
    started = time.monotonic()
    device.run(random_batch(DECODED))
    assert time.monotonic() - started >= 0.12
    path.unlink()
    device.run(random_batch(DECODED))


def test_the_environment_may_name_the_fault_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fault"
    monkeypatch.setenv("RAYSAIL_FAULT_FILE", str(path))
    device = timed()
    path.write_text("fail")
    with pytest.raises(DeviceError, match="failed as asked"):
        device.run(random_batch(DECODED))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("die", Fault(action="die")),
        ("slow ms=1500.5 device=2", Fault(action="slow", slow_ms=1500.5, device_id=2)),
        ("always hang", Fault(action="hang", always=True)),
    ],
)
def test_fault_lines(text: str, fault: Fault) -> None:
    assert parse_fault(text, place="f") == fault
    assert replace(fault, action="fail") != fault


@pytest.mark.parametrize("text", ["explode", "die now", "device=1", "slow ms=fast", "die device=-1"])
def test_wrong_fault_lines_are_told(text: str) -> None:
    with pytest.raises(DeviceError, match=r"a fault must .* in 'f'"):
        parse_fault(text, place="f")
