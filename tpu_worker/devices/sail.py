"""SAIL, the vendor's inference library for Python: the only module that imports `sophon`.

What SAIL does not check is checked here before it is asked: the file, names, shapes and types, because it answers a
wrong one with old results or with the process's death. Its Tensor overload is used, which releases the GIL, with
Tensors allocated once; numbers are scaled here, as on every other device.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import DeviceError, LibraryError
from bmodel.sidecar import ModelSpec, TensorSpec
from tpu_worker.devices.check_file import check_bmodel
from tpu_worker.devices.native_output import process_output, quiet
from tpu_worker.devices.options import DeviceOptions
from tpu_worker.devices.protocol import Batch, check_batch
from tpu_worker.devices.quantise import dequantise, quantise

_DTYPES: Final = {
    "float32": "BM_FLOAT32",
    "int8": "BM_INT8",
    "uint8": "BM_UINT8",
    "int32": "BM_INT32",
}
# Written to the start of every output before a launch: SAIL reports a failed launch only in its log and returns what
# the card's memory held. No network answers with these very numbers. (Not NaN: nothing may be left on a card that
# spoils the arithmetic of whoever gets the memory next.)
_STALE: Final = np.array([85, 2, 119, 33, 7, 101, 64, 19], np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class CardHealth:
    """A card's state: temperatures in °C, memory in MB, utilisation of its tensor processor in percent."""

    chip_temperature_c: int
    board_temperature_c: int
    memory_total_mb: int
    memory_used_mb: int
    utilisation_percent: int


class SailDevice:
    """A BModel under SAIL. Used by one thread at a time; calls of several threads take turns."""

    def __init__(self, options: DeviceOptions) -> None:
        path, network = check_bmodel(options)
        self._spec = options.spec
        self._place = options.place
        self._network = network
        self._owner = os.getpid()
        self._lock = threading.Lock()
        sail = load_sail()
        _check_number(options)
        self._opened = _Opened()
        # Before the interpreter goes: the runtime below SAIL crashes when it outlives it.
        self._release = weakref.finalize(self, self._opened.release)
        try:
            self._open(sail, str(path), options.device_id)
        except BaseException:
            self._release()
            raise

    def _open(self, sail: ModuleType, path: str, device_id: int) -> None:
        with _translated(self._place, "the device cannot be opened"):
            engine = sail.Engine(path, device_id, sail.IOMode.SYSIO)
            self._opened.engine = engine
            self._check_engine(sail, engine)
            handle = engine.get_handle()
            for tensors, specs in (
                (self._opened.inputs, (self._spec.input,)),
                (self._opened.outputs, self._spec.outputs),
            ):
                for spec in specs:
                    dtype = _dtype(sail, spec)
                    # Memory on the host and on the card; older versions of SAIL know no keywords.
                    tensors[spec.name] = sail.Tensor(handle, list(spec.shape), dtype, True, True)  # noqa: FBT003

    @property
    def spec(self) -> ModelSpec:
        """The network that is loaded."""
        return self._spec

    def run(self, batch: Batch) -> list[NDArray[np.float32]]:
        """Run a batch through the Tensors of the device."""
        check_batch(batch, self._spec)
        if os.getpid() != self._owner:
            raise DeviceError(f"{self._place}: opened before a fork; open the device in the child instead")
        stored = quantise(batch, self._spec.input)
        with self._lock:
            if not self._release.alive:
                raise DeviceError(f"{self._place}: the device is closed")
            with _translated(self._place, "the launch failed") as start:
                arrays = self._launch(stored, start)
        return [dequantise(array, spec) for array, spec in zip(arrays, self._spec.outputs, strict=True)]

    def close(self) -> None:
        """Give the card back."""
        with self._lock:
            self._release()

    def _launch(self, stored: NDArray[Any], start: int) -> list[NDArray[Any]]:
        opened = self._opened
        opened.inputs[self._spec.input.name].update_data(stored)
        for spec in self._spec.outputs:
            tensor, stale = opened.outputs[spec.name], _stale(spec)
            tensor.scale_from(stale, 1.0)
            tensor.sync_s2d(len(stale) * np.dtype(spec.dtype).itemsize)
        opened.engine.process(self._network, opened.inputs, opened.outputs)
        arrays = []
        for spec in self._spec.outputs:
            array = np.asarray(opened.outputs[spec.name].asnumpy())
            self._check_output(array, spec, start)
            # A view of the Tensor's memory would change under the caller with the next launch.
            arrays.append(array if array.flags.owndata and array.flags.writeable else array.copy())
        return arrays

    def _check_output(self, array: NDArray[Any], spec: TensorSpec, start: int) -> None:
        if array.shape != spec.shape or array.dtype != np.dtype(spec.dtype):
            raise DeviceError(
                f"{self._place}: output '{spec.name}' must be {spec.dtype} {spec.shape}, "
                f"got {array.dtype} {array.shape}"
            )
        stale = _stale(spec)
        if np.array_equal(array.reshape(-1)[: len(stale)], stale):
            text = process_output().last_lines(start)
            raise DeviceError(
                f"{self._place}: the launch failed, output '{spec.name}' was not written: {text}"
            )

    def _check_engine(self, sail: ModuleType, engine: Any) -> None:
        """Compare with the spec before any name is used: an unknown one kills the process or poisons the engine."""
        if self._network not in engine.get_graph_names():
            raise DeviceError(f"{self._place}: SAIL knows no network '{self._network}'")
        for direction, specs in (("input", (self._spec.input,)), ("output", self._spec.outputs)):
            names = getattr(engine, f"get_{direction}_names")(self._network)
            if sorted(names) != sorted(spec.name for spec in specs):
                raise DeviceError(f"{self._place}: SAIL sees other {direction}s: {names}")
            for spec in specs:
                shape = getattr(engine, f"get_{direction}_shape")(self._network, spec.name)
                dtype = getattr(engine, f"get_{direction}_dtype")(self._network, spec.name)
                if tuple(shape) != spec.shape or dtype != _dtype(sail, spec):
                    raise DeviceError(f"{self._place}: SAIL sees '{spec.name}' as {dtype} {shape}")


class _Opened:
    """What has to be given back, Tensors before the Engine whose card they lie on."""

    def __init__(self) -> None:
        self.engine: Any = None
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self._owner = os.getpid()

    def release(self) -> None:
        if os.getpid() != self._owner:
            return
        with quiet(process_output()):
            self.inputs.clear()
            self.outputs.clear()
            self.engine = None


def load_sail() -> ModuleType:
    """Import SAIL, its greetings kept out of the job's output."""
    with quiet(process_output()) as start:
        try:
            from sophon import sail
        except ImportError as error:
            text = process_output().last_lines(start)
            raise LibraryError(f"SAIL cannot be loaded in this Python: {error} ({text})") from error
    module: ModuleType = sail
    return module


def card_count() -> int | None:
    """Return how many cards SAIL sees on this host; None where it cannot tell, as without a driver."""
    sail = load_sail()
    with quiet(process_output()):
        try:
            return int(sail.get_available_tpu_num())
        except Exception:  # noqa: BLE001 - SAIL's errors share no base, and none of them tells a number
            return None


def read_health(device_id: int) -> CardHealth:
    """Ask a card for its state; raises DeviceError when it does not answer."""
    sail = load_sail()
    with _translated(f"card {device_id}", "its state cannot be read"):
        total, used, utilisation = sail.get_dev_stat(device_id)
        return CardHealth(
            chip_temperature_c=int(sail.get_chip_temp(device_id)),
            board_temperature_c=int(sail.get_board_temp(device_id)),
            memory_total_mb=int(total),
            memory_used_mb=int(used),
            utilisation_percent=int(utilisation),
        )


def _check_number(options: DeviceOptions) -> None:
    """SAIL passes a number that is too high on to a library that ends the process."""
    count = card_count()
    # Where SAIL cannot count, the first card is the only one worth a try.
    if options.device_id >= (1 if count is None else count):
        found = "SAIL cannot count the cards" if count is None else f"there are {count}"
        raise DeviceError(f"{options.place}: there is no such card: {found}")


def _dtype(sail: ModuleType, spec: TensorSpec) -> Any:
    if spec.dtype not in _DTYPES:
        raise DeviceError(f"SAIL has no {spec.dtype} for '{spec.name}'")
    return getattr(sail.Dtype, _DTYPES[spec.dtype])


def _stale(spec: TensorSpec) -> NDArray[np.float32]:
    return _STALE[: int(np.prod(spec.shape))]


@contextmanager
def _translated(place: str, what: str) -> Iterator[int]:
    """Turn whatever SAIL raises into a DeviceError with its text and what it logged."""
    with quiet(process_output()) as start:
        try:
            yield start
        except DeviceError:
            raise
        except Exception as error:
            text = process_output().last_lines(start)
            raise DeviceError(f"{place}: {what}: {type(error).__name__}: {error} ({text})") from error
