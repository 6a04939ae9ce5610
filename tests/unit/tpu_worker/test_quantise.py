"""Rounding into and out of the network's own types."""

from __future__ import annotations

import numpy as np
import pytest

from bmodel.sidecar import DType, TensorSpec
from tpu_worker.devices.quantise import dequantise, quantise


def tensor(dtype: DType, scale: float = 1.0, zero_point: int = 0) -> TensorSpec:
    return TensorSpec(name="t", shape=(1,), dtype=dtype, scale=scale, zero_point=zero_point)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (0.5, 1),
        (-0.5, -1),
        (1.5, 2),
        (2.5, 3),
        (-2.5, -3),
        (0.49999997, 0),
        (-0.49999997, 0),
        (126.5, 127),
        (300.0, 127),
        (-300.0, -128),
    ],
)
def test_halves_go_away_from_zero_and_ends_are_clipped(value: float, stored: int) -> None:
    assert quantise(np.array([value], np.float32), tensor("int8")).tolist() == [stored]


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("int8", -128, 127), ("uint8", 0, 255), ("int16", -32768, 32767), ("uint16", 0, 65535)],
)
def test_every_stored_value_survives_the_round_trip(dtype: DType, low: int, high: int) -> None:
    spec = tensor(dtype, scale=0.125, zero_point=3)
    stored = np.arange(low, high + 1, dtype=np.dtype(dtype))
    values = dequantise(stored, spec)
    assert values.dtype == np.float32
    back = quantise(values, tensor(dtype, scale=8.0, zero_point=3))
    assert back.dtype == stored.dtype
    np.testing.assert_array_equal(back, stored)


def test_the_scale_applies_before_rounding_and_the_zero_point_after_scaling() -> None:
    values = np.array([0.0, 0.5, 1.0], np.float32)
    assert quantise(values, tensor("uint8", scale=255.0)).tolist() == [0, 128, 255]
    assert quantise(values, tensor("int8", scale=255.0, zero_point=-128)).tolist() == [-128, -1, 127]
    assert dequantise(np.array([-128, 0], np.int8), tensor("int8", scale=0.5, zero_point=-128)).tolist() == [
        0,
        64,
    ]


def test_floats_pass_untouched_and_the_argument_is_never_changed() -> None:
    values = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
    assert quantise(values, tensor("float32")) is values
    assert dequantise(values, tensor("float32")) is values
    before = values.copy()
    assert quantise(values.T, tensor("int8", scale=40)).flags.c_contiguous
    np.testing.assert_array_equal(values, before)
    assert quantise(values.T, tensor("float32")).flags.c_contiguous
