"""Detects on the chip simulator, or on the CPU, in a process of its own, and brings the raw outputs along.

A process has one simulated card, and the vendor's library may take it down: whoever compares several networks needs
a process for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import ToolError
from bmodel.sidecar import ModelSpec
from tpu_worker.boxes import Detections
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices import Device, DeviceOptions, open_device
from tpu_worker.devices.protocol import Batch
from tpu_worker.values import ImageRef, ImageResult

Outputs = list[NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What a network makes of one image: boxes in its pixels, and the raw heads (A, H, W, 5+C) each."""

    detections: Detections
    heads: Outputs


class RecordingDevice:
    """A device that keeps what it answered."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.answers: list[Outputs] = []

    @property
    def spec(self) -> ModelSpec:
        """The network that is loaded."""
        return self._device.spec

    def run(self, batch: Batch) -> Outputs:
        """Run a batch and keep the answer."""
        outputs = self._device.run(batch)
        self.answers.append([output.copy() for output in outputs])
        return outputs

    def close(self) -> None:
        """Give the device back."""
        self._device.close()


class ImageSimulator:
    """A network at work in another process, in launches of its batch; closed when the block ends."""

    def __init__(self, options: DeviceOptions) -> None:
        self._options = options
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def __enter__(self) -> ImageSimulator:  # noqa: PYI034 - Self is not in Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(BrokenProcessPool):
            self._pool.submit(_close).result()
        self._pool.shutdown()

    def observe(self, images: Sequence[ImageRef]) -> list[Observed]:
        """Detect on some images; raises ToolError when an image or the device fails."""
        try:
            return self._pool.submit(_observe, self._options, list(images)).result()
        except BrokenProcessPool as error:
            raise ToolError(
                f"the process of '{self._options.name}' with {self._options.place} died"
            ) from error


_detector: tuple[RecordingDevice, Detector] | None = None


def _observe(options: DeviceOptions, images: list[ImageRef]) -> list[Observed]:
    device, detector = _opened(options)
    observed = []
    for start in range(0, len(images), device.spec.batch):
        device.answers.clear()
        results = detector.detect(images[start : start + device.spec.batch])
        found = [_detections(result) for result in results]
        (answer,) = device.answers
        observed += [
            Observed(detections=detections, heads=[head[position] for head in answer])
            for position, detections in enumerate(found)
        ]
    return observed


def _detections(result: ImageResult) -> Detections:
    if result.detections is None:
        reason = result.failure.reason if result.failure else "no result"
        raise ToolError(f"'{result.image.path}': {reason}")
    return result.detections


def _opened(options: DeviceOptions) -> tuple[RecordingDevice, Detector]:
    global _detector  # noqa: PLW0603 - the process exists for this one device
    if _detector is None:
        device = RecordingDevice(open_device(options))
        _detector = device, Detector(device, DetectOptions(prepare_threads=1))
    return _detector


def _close() -> None:
    if _detector is not None:
        _detector[1].close()
