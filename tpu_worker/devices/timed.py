"""A device of a set speed that answers from canned outputs, and fails on request: for tests and scaling benchmarks.

What it finds depends on the image it is shown and on nothing else, so a result that lands at the wrong image shows.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import time
import zlib
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from bmodel.anchors import named_anchors
from bmodel.errors import DeviceError
from bmodel.infer_spec import placeholder_names
from bmodel.sidecar import HeadSpec, ModelSpec, TensorSpec
from tpu_worker.devices.canned_boxes import background, draw_box
from tpu_worker.devices.fault_file import Fault, take_fault
from tpu_worker.devices.options import DeviceOptions
from tpu_worker.devices.protocol import Batch, check_batch
from tpu_worker.option_values import FaultAction

SLOW_MS: Final = 1000.0


class TimedDevice:
    """Sleeps out its service time with the GIL released, whatever the machine."""

    def __init__(self, options: DeviceOptions) -> None:
        self._options = options
        self._timed = options.timed
        self._background = [background(options.spec, output) for output in options.spec.outputs]
        self._calls = 0
        self._is_open = True

    @property
    def spec(self) -> ModelSpec:
        """The network whose shapes are imitated."""
        return self._options.spec

    def run(self, batch: Batch) -> list[NDArray[np.float32]]:
        """Answer after the service time, counted from the call."""
        deadline = time.monotonic() + self._timed.service_ms / 1000
        check_batch(batch, self.spec)
        if not self._is_open:
            raise DeviceError(f"{self._options.place}: the device is closed")
        self._calls += 1
        deadline += self._suffer_faults(batch)
        outputs = [output.copy() for output in self._background]
        for position, image in enumerate(batch):
            self._draw_boxes(outputs, position, image)
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(left)
        return outputs

    def close(self) -> None:
        """Refuse further calls."""
        self._is_open = False

    def _suffer_faults(self, batch: Batch) -> float:
        """Do what was asked for this call; returns by how many seconds it is slowed down."""
        timed = self._timed
        delay_s = 0.0
        if timed.fail_every and self._calls % timed.fail_every == 0:
            self._suffer(Fault(action="fail"))
        planned: tuple[tuple[int | None, FaultAction], ...] = (
            (timed.hang_at, "hang"),
            (timed.die_at, "die"),
            (timed.segfault_at, "segfault"),
        )
        for call, action in planned:
            if call == self._calls:
                self._suffer(Fault(action=action))
        if timed.poison and any(is_poison(image) for image in batch):
            delay_s += self._suffer(Fault(action=timed.poison))
        armed = take_fault(timed.fault_file, self._options.device_id)
        return delay_s + (self._suffer(armed) if armed else 0.0)

    def _suffer(self, fault: Fault) -> float:
        if fault.action == "slow":
            return (SLOW_MS if fault.slow_ms is None else fault.slow_ms) / 1000
        if fault.action == "hang":
            _hang()
        if fault.action == "die":
            os._exit(1)
        if fault.action == "segfault":
            ctypes.string_at(0)
        raise DeviceError(f"{self._options.place}: failed as asked, in call {self._calls}")

    def _draw_boxes(self, outputs: list[NDArray[np.float32]], position: int, image: Batch) -> None:
        """Put the image's boxes over the background."""
        digest = zlib.crc32(np.ascontiguousarray(image[:, ::8, ::8]).tobytes())
        dice = np.random.default_rng((self._timed.seed, digest))
        for _ in range(self._timed.boxes_per_image):
            draw_box(outputs, position, self.spec, dice)


def is_poison(image: Batch) -> bool:
    """Whether the middle of an image (3, H, W) in RGB, 0..1, is plain magenta; a JPEG's is near enough."""
    red, green, blue = (float(channel[channel.shape[0] // 2, channel.shape[1] // 2]) for channel in image)
    return red > 0.95 and green < 0.05 and blue > 0.95


def standard_spec(*, batch: int = 1, classes: int = 80) -> ModelSpec:
    """Return the spec of an imaginary YOLOv7 at 640 × 640: three raw heads, 25,200 boxes of 5 + classes values."""
    strides = (8, 16, 32)
    outputs = tuple(
        TensorSpec(name=f"head{stride}", shape=(batch, 3, 640 // stride, 640 // stride, 5 + classes))
        for stride in strides
    )
    heads = tuple(
        HeadSpec(output=position, stride=stride, anchors_wh=anchors_wh)
        for position, (stride, anchors_wh) in enumerate(zip(strides, named_anchors("yolov7", 3), strict=True))
    )
    return ModelSpec(
        name="timed640",
        file_sha256=hashlib.sha256(f"timed640 {batch} {classes}".encode()).hexdigest(),
        input=TensorSpec(name="images", shape=(batch, 3, 640, 640)),
        outputs=outputs,
        layout="heads",
        heads=heads,
        class_names=placeholder_names(classes),
    )


def _hang() -> NoReturn:
    while True:
        time.sleep(3600)
