"""E: a letterboxed batch → the network's outputs, on one of five devices behind one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpu_worker.devices.choose_device import check_device, resolve_device, runs_on_simulator
from tpu_worker.devices.options import DeviceOptions, TimedOptions
from tpu_worker.devices.protocol import Batch, Device
from tpu_worker.option_values import CARD_DEVICES, DeviceName, FaultAction, PreprocessName

__all__ = [
    "CARD_DEVICES",
    "Batch",
    "Device",
    "DeviceName",
    "DeviceOptions",
    "FaultAction",
    "PreprocessName",
    "TimedOptions",
    "check_device",
    "open_device",
    "open_preprocessor",
    "resolve_device",
    "runs_on_simulator",
]


if TYPE_CHECKING:
    from tpu_worker.devices.bmcv import CardPreprocessor


def open_preprocessor(options: DeviceOptions) -> CardPreprocessor | None:
    """Open the card's own preprocessing where it is asked for; None for OpenCV on the host."""
    if options.preprocess == "opencv":
        return None
    from tpu_worker.devices.bmcv import CardPreprocessor

    return CardPreprocessor(device_id=options.device_id, spec=options.spec)


def open_device(options: DeviceOptions) -> Device:
    """Open a device in this process; only the chosen device's libraries are loaded.

    Raises DeviceError when the device refuses, ModelFileError or LibraryError for what it is opened with.
    """
    if options.name == "cpu":
        from tpu_worker.devices.cpu import CpuDevice

        return CpuDevice(options)
    if options.name == "timed":
        from tpu_worker.devices.timed import TimedDevice

        return TimedDevice(options)
    if options.name == "sail":
        from tpu_worker.devices.sail import SailDevice

        return SailDevice(options)
    from tpu_worker.devices.bmrt_device import BmrtDevice

    return BmrtDevice(options)
