"""E: a letterboxed batch → the network's outputs, on one of five devices behind one protocol."""

from __future__ import annotations

from tpu_worker.devices.choose_device import check_device, resolve_device
from tpu_worker.devices.options import DeviceName, DeviceOptions, FaultAction, TimedOptions
from tpu_worker.devices.protocol import Batch, Device

__all__ = [
    "Batch",
    "Device",
    "DeviceName",
    "DeviceOptions",
    "FaultAction",
    "TimedOptions",
    "check_device",
    "open_device",
    "resolve_device",
]


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
