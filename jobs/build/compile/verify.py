"""Compares a BModel on the chip simulator with its ONNX twin under ONNX Runtime, on real images, a head at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import ToolError
from bmodel.files import file_sha256
from bmodel.sidecar import ModelSpec, Precision, Verification
from tpu_worker.letterbox import InputWriter, Letterbox
from tpu_worker.read_image import ReadOptions, read_image

Outputs = list[NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """What a head must keep to: the cosine of all its values with the twin's, and the largest difference.

    difference: as a share of the twin's largest absolute value in that head; None: not limited.
    """

    cosine: float
    difference: float | None


# FP32: the chip's exponential is a table, so equality is not to be had. INT8's single values may be far off.
LIMITS: Final[dict[Precision, Limit]] = {
    "fp32": Limit(cosine=0.9999, difference=0.01),
    "int8": Limit(cosine=0.95, difference=None),
    "mixed": Limit(cosine=0.95, difference=None),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Twins:
    """A compiled network and what it was compiled from."""

    bmodel: Path
    onnx: Path
    spec: ModelSpec


def verify(twins: Twins, images: Sequence[Path]) -> Verification:
    """Run both on the images, in launches of the BModel's batch; raises ToolError when the simulator fails."""
    batches = read_batches(twins.spec, images)
    # A process of its own: the vendor's library may take it down, and a process has only one simulated card.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            simulated = pool.submit(_run_simulator, twins, batches).result()
        except BrokenProcessPool as error:
            raise ToolError(f"the chip simulator crashed on '{twins.bmodel}'") from error
    expected = _run_onnx(twins, batches)
    return compare(simulated, expected, images=len(images), precision=twins.spec.precision)


def compare(
    simulated: list[Outputs], expected: list[Outputs], *, images: int, precision: Precision
) -> Verification:
    """Compare the outputs of all launches, a head at a time."""
    cosines, differences, passed = [], [], True
    limit = LIMITS[precision]
    for head in range(len(expected[0])):
        ours = np.concatenate([outputs[head].ravel() for outputs in simulated]).astype(np.float64)
        theirs = np.concatenate([outputs[head].ravel() for outputs in expected]).astype(np.float64)
        if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
            raise ToolError(f"head {head} holds values that are not finite")
        cosine = cosine_similarity(ours, theirs)
        difference = float(np.abs(ours - theirs).max())
        cosines.append(cosine)
        differences.append(difference)
        within = limit.difference is None or difference <= limit.difference * float(np.abs(theirs).max())
        passed = passed and cosine >= limit.cosine and within
    return Verification(
        images=images, cosine=tuple(cosines), max_abs_difference=tuple(differences), passed=passed
    )


def cosine_similarity(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Cosine of the angle between two vectors (N,); 0 where one of them is zero."""
    norm = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / norm if norm > 0 else 0.0


def read_batches(spec: ModelSpec, images: Sequence[Path]) -> list[NDArray[np.float32]]:
    """Read images into full launches; the last launch is filled up with the first images."""
    writer = InputWriter(spec.normalisation, spec.input_hw)
    batches = []
    for start in range(0, len(images), spec.batch):
        batch = np.empty(spec.input.shape, np.float32)
        for position in range(spec.batch):
            path = images[(start + position) % len(images)]
            source = read_image(str(path), ReadOptions())
            fit = Letterbox.fit(source.size_hw, spec.input_hw, spec.normalisation.placement)
            writer.write(source.bgr, fit, batch[position], None)
        batches.append(batch)
    return batches


def failure(verification: Verification, precision: Precision) -> str:
    """Say which head is how far off."""
    limit = LIMITS[precision]
    heads = ", ".join(
        f"head {index}: cosine {cosine:.5f}, difference {difference:.4g}"
        for index, (cosine, difference) in enumerate(
            zip(verification.cosine, verification.max_abs_difference, strict=True)
        )
    )
    rule = f"cosine at least {limit.cosine}"
    if limit.difference is not None:
        rule += f", difference at most {limit.difference:.0%} of the head's largest value"
    return f"on {verification.images} images it differs from ONNX Runtime ({heads}; the limit is: {rule})"


def _run_simulator(twins: Twins, batches: list[NDArray[np.float32]]) -> list[Outputs]:
    from tpu_worker.devices.bmrt_device import BmrtDevice
    from tpu_worker.devices.options import DeviceOptions

    device = BmrtDevice(DeviceOptions(name="simulator", spec=twins.spec, model_path=twins.bmodel))
    try:
        return [device.run(batch) for batch in batches]
    finally:
        device.close()


def _run_onnx(twins: Twins, batches: list[NDArray[np.float32]]) -> list[Outputs]:
    from tpu_worker.devices.cpu import CpuDevice
    from tpu_worker.devices.options import DeviceOptions

    # The twin under the BModel's shapes, so that its heads come in the BModel's order.
    spec = twins.spec.model_copy(
        update={"precision": "fp32", "chip": None, "file_sha256": file_sha256(twins.onnx)}
    )
    device = CpuDevice(DeviceOptions(name="cpu", spec=spec, model_path=twins.onnx))
    try:
        return [device.run(batch) for batch in batches]
    finally:
        device.close()
