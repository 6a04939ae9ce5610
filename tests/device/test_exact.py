"""Bit for bit: SAIL equals the simulator, and the simulator reproduces the vendor's own runner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bmodel.model_file import load_spec
from tests.device.cases import FP32, INT8, Case, random_batch
from tpu_worker.devices import DeviceOptions, open_device


def bits(array: np.ndarray) -> np.ndarray:
    """The values as integers: NaN and the sign of zero count."""
    return np.ascontiguousarray(array, np.float32).view(np.uint32)


@pytest.mark.parametrize("model", [*FP32, *INT8])
def test_sail_equals_the_simulator(sail: object, model: str) -> None:
    simulator, by_sail = (Case(name=name, model=model) for name in ("simulator", "sail"))
    spec = simulator.spec
    devices = simulator.open(), by_sail.open()
    # Halves are where two ways of rounding would differ: they are among the values.
    halves = (np.arange(np.prod(spec.input.shape)) % 512 / 2 / 256).astype(np.float32)
    for batch in (random_batch(spec), halves.reshape(spec.input.shape)):
        for one, other in zip(*(device.run(batch) for device in devices), strict=True):
            np.testing.assert_array_equal(bits(one), bits(other))
            assert one.std() > 0
    for device in devices:
        device.close()


def test_the_simulator_reproduces_the_recorded_outputs(simulator: None, photographs: Path) -> None:
    path = photographs / "yolov5n_3output_320_fp32_1b_bm1684.bmodel"
    spec = load_spec(path, anchors="yolov5")
    device = open_device(DeviceOptions(name="simulator", spec=spec, model_path=path))
    outputs = device.run(np.load(photographs / "one_input.npz")["images"])
    device.close()
    recorded = np.load(photographs / "one_output.npz")
    for output, tensor in zip(outputs, spec.outputs, strict=True):
        np.testing.assert_array_equal(bits(output), bits(recorded[tensor.name]))


@pytest.mark.parametrize("model", FP32)
def test_the_simulator_agrees_with_the_cpu(simulator: None, model: str) -> None:
    devices = [Case(name="simulator", model=model).open(), Case(name="cpu", model=model).open()]
    batch = random_batch(devices[0].spec)
    for one, other in zip(*(device.run(batch) for device in devices), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    for device in devices:
        device.close()


def test_quantised_networks_agree_with_fp32_roughly(simulator: None) -> None:
    """Guards scales and zero points: a wrong one is off by far more than quantisation is."""
    reference = Case(name="simulator", model="tiny_fp32_1b").open()
    # Coloured squares: like pictures, and unlike noise, within the range that was calibrated for.
    squares = np.random.default_rng(0).random((1, 3, 8, 12), np.float32)
    batch = squares.repeat(8, axis=2).repeat(8, axis=3)
    expected = reference.run(batch)
    reference.close()
    for model in ("tiny_int8_1b", "tiny_int8_1b_quantised"):
        device = Case(name="simulator", model=model).open()
        for output, wanted in zip(device.run(batch), expected, strict=True):
            cosine = np.vdot(output, wanted) / np.linalg.norm(output) / np.linalg.norm(wanted)
            assert cosine > 0.98, (model, cosine)
            assert 0.9 < np.linalg.norm(output) / np.linalg.norm(wanted) < 1.1
        device.close()


@pytest.mark.parametrize(
    ("one", "four"),
    [
        ("tiny_int8_1b", "tiny_int8_4b"),
        ("sample_yolov7tiny_416_int8_1b", "sample_yolov7tiny_416_int8_4b"),
    ],
)
def test_a_launch_of_four_is_four_launches_of_one(simulator: None, one: str, four: str) -> None:
    """INT8 lies in memory four images to a word: a compiler that slices the word mixes up the images."""
    device = Case(name="simulator", model=four).open()
    batch = random_batch(device.spec)
    together = device.run(batch)
    # One network after the other: the simulator may crash on a second one beside the first.
    device.close()
    device = Case(name="simulator", model=one).open()
    for position in (0, 3):
        for alone, all_four in zip(device.run(batch[position, None]), together, strict=True):
            np.testing.assert_array_equal(bits(alone[0]), bits(all_four[position]))
    device.close()
    for output in together:
        assert len({image.tobytes() for image in output}) == 4


def test_any_card_number_is_the_simulators_only_card(simulator: None) -> None:
    case = Case(name="simulator", model="tiny_fp32_1b")
    first = case.open()
    seventh = open_device(replace(case.options, device_id=7))
    batch = random_batch(case.spec)
    for one, other in zip(first.run(batch), seventh.run(batch), strict=True):
        np.testing.assert_array_equal(bits(one), bits(other))
    first.close()
    seventh.close()
