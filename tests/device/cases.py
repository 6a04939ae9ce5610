"""Which devices the contract suite opens, and with what; `tests/card` opens real ones in the same way."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bmodel.model_file import load_spec
from bmodel.sidecar import ModelSpec
from tests.helpers.paths import ROOT
from tpu_worker.devices import Device, DeviceName, DeviceOptions, TimedOptions, open_device

FAKES = ROOT / "tests/fakes"
FP32 = ("tiny_fp32_1b", "tiny_fp32_4b")
INT8 = ("tiny_int8_1b", "tiny_int8_4b", "tiny_int8_1b_quantised")
SERVICE_MS = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A device and one of the committed networks.

    device_id: the card's number, where it is a real one.
    """

    name: DeviceName
    model: str
    device_id: int = 0

    def __str__(self) -> str:
        return f"{self.name}-{self.model}"

    @property
    def path(self) -> Path:
        return ROOT / f"bmodel/{self.model}.bmodel"

    @property
    def spec(self) -> ModelSpec:
        return load_spec(self.path)

    @property
    def options(self) -> DeviceOptions:
        timed = TimedOptions(service_ms=SERVICE_MS)
        return DeviceOptions(
            name=self.name,
            spec=self.spec,
            model_path=self.path,
            device_id=self.device_id,
            threads=1,
            timed=timed,
        )

    def open(self) -> Device:
        return open_device(self.options)


CASES = [
    *(Case(name="cpu", model=model) for model in FP32),
    *(Case(name="timed", model=model) for model in FP32),
    # The other networks' results are compared in test_exact.py.
    *(Case(name="simulator", model=model) for model in (*FP32, "tiny_int8_1b_quantised")),
    *(Case(name="sail", model=model) for model in (*FP32, "tiny_int8_1b_quantised")),
]


def import_paths() -> list[str]:
    """Where another process finds what this one has: the project, and SAIL's stand-in if that is in use here."""
    return [str(ROOT), *(path for path in sys.path if path == str(FAKES))]


def random_batch(spec: ModelSpec, seed: int = 0) -> NDArray[np.float32]:
    """Noise in 0..1, as normalised pixels are."""
    return np.random.default_rng(seed).random(spec.input.shape, np.float32)
