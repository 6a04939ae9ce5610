"""A BModel loaded by libbmrt: memory on the card allocated once, one launch at a time, everything given back.

The library kills the process for a wrong device number, for an exit with an engine still open, and hangs it after a
fork; so numbers are checked here, clean-up is registered when the device is opened, and a child is refused.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import weakref
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from bmodel.container import DTYPES
from bmodel.errors import DeviceError
from bmodel.libraries import RuntimeLibraries
from bmodel.sidecar import TensorSpec
from tpu_worker.devices.bmrt_binding import STORE_1N, DeviceMemory, DeviceTensor, NetworkInfo, Runtime, Shape
from tpu_worker.devices.native_output import NativeOutput, process_output, quiet

_DTYPE_CODES: Final = {name: code for code, (name, _) in DTYPES.items()}


class BmrtEngine:
    """One network on one card. Used by one thread at a time; calls of several threads take turns."""

    def __init__(
        self,
        libraries: RuntimeLibraries,
        *,
        path: Path,
        network: str,
        device_id: int,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
    ) -> None:
        self._place = f"card {device_id} with '{path}'"
        self._network = network.encode()
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._output = process_output()
        self._runtime = load_runtime(libraries)
        native_id = self._native_id(libraries.kind, device_id)
        self._opened = _Opened(self._runtime, self._output)
        # Runs at close, when the engine is forgotten, or at exit, whichever comes first; then never again.
        self._release = weakref.finalize(self, self._opened.release)
        try:
            self._open(native_id, path, inputs, outputs)
        except BaseException:
            self._release()
            raise

    def _open(
        self, native_id: int, path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
    ) -> None:
        opened, runtime = self._opened, self._runtime
        with quiet(self._output) as start:
            status = runtime.request_device(ctypes.byref(opened.device), native_id)
            self._require(status == 0, "the device cannot be opened", start)
            opened.engine = runtime.create(opened.device)
            self._require(bool(opened.engine), "the runtime cannot be created", start)
            loaded = runtime.load(opened.engine, os.fsencode(path))
            self._require(loaded, "the BModel cannot be loaded", start)
            info = runtime.network_info(opened.engine, self._network)
            self._require(bool(info), "the BModel holds another network than its header says", start)
        stated = describe(info.contents)
        if stated != (_names(inputs), _names(outputs)):
            raise DeviceError(f"{self._place}: the runtime sees {stated}, not what the file's header says")
        self._inputs = self._allocate_tensors(inputs)
        self._outputs = self._allocate_tensors(outputs)
        self._output_specs = outputs

    def launch(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the network on contiguous arrays, one an input, of its type and size in bytes.

        Returns new arrays, one an output, of its shape and type. Raises DeviceError.
        """
        if os.getpid() != self._owner:
            raise DeviceError(f"{self._place}: opened before a fork; open the device in the child instead")
        results = [np.empty(spec.shape, np.dtype(spec.dtype)) for spec in self._output_specs]
        with self._lock:
            if not self._release.alive:
                raise DeviceError(f"{self._place}: the device is closed")
            with quiet(self._output) as start:
                self._launch(arrays, results, start)
        return results

    def close(self) -> None:
        """Give memory, network and device back."""
        with self._lock:
            self._release()

    def _launch(self, arrays: list[NDArray[Any]], results: list[NDArray[Any]], start: int) -> None:
        runtime, opened = self._runtime, self._opened
        for tensor, array in zip(self._inputs, arrays, strict=True):
            if not array.flags.c_contiguous or array.nbytes != tensor.memory.size:
                raise DeviceError(f"{self._place}: an input must be {tensor.memory.size} contiguous bytes")
            status = runtime.copy_to_device(opened.device, tensor.memory, array.ctypes.data, array.nbytes)
            self._require(status == 0, "the input cannot be copied to the card", start)
        # The outputs' memory is ours, and they are wanted one image after the other (1N), not interleaved by four.
        launched = runtime.launch(
            *(opened.engine, self._network, self._inputs, len(self._inputs)),
            *(self._outputs, len(self._outputs), True, True),
        )
        self._require(launched, "the launch failed", start)
        self._require(runtime.synchronise(opened.device) == 0, "the network failed on the card", start)
        for tensor, result in zip(self._outputs, results, strict=True):
            status = runtime.copy_from_device(opened.device, result.ctypes.data, tensor.memory, result.nbytes)
            self._require(status == 0, "an output cannot be copied from the card", start)

    def _allocate_tensors(self, tensors: tuple[TensorSpec, ...]) -> ctypes.Array[DeviceTensor]:
        found = (DeviceTensor * len(tensors))()
        for place, tensor in zip(found, tensors, strict=True):
            size = int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
            memory = DeviceMemory()
            with quiet(self._output) as start:
                status = self._runtime.allocate(self._opened.device, ctypes.byref(memory), size)
                self._require(status == 0, f"{size} bytes cannot be allocated on the card", start)
            self._opened.memory.append(memory)
            place.dtype = _DTYPE_CODES[tensor.dtype]
            place.shape = Shape.of(tensor.shape)
            place.memory = memory
            place.store_mode = STORE_1N
        return found

    def _native_id(self, kind: Literal["simulator", "card"], device_id: int) -> int:
        """Return the number that the library knows the card by; the simulator knows one only."""
        if kind == "simulator":
            return 0
        count = ctypes.c_int()
        with quiet(self._output) as start:
            status = self._runtime.device_count(ctypes.byref(count))
            self._require(status == 0, "the cards cannot be counted", start)
        if not 0 <= device_id < count.value:
            raise DeviceError(
                f"{self._place}: the card's number must be below {count.value}, the number of cards"
            )
        return device_id

    def _require(self, success: bool, what: str, start: int) -> None:  # noqa: FBT001 - reads as a sentence
        if not success:
            raise DeviceError(f"{self._place}: {what}: {self._output.last_lines(start)}")


class _Opened:
    """What has to be given back, in the order that the library insists on."""

    def __init__(self, runtime: Runtime, output: NativeOutput) -> None:
        self.device = ctypes.c_void_p()
        self.engine: int | None = None
        self.memory: list[DeviceMemory] = []
        self._runtime, self._output, self._owner = runtime, output, os.getpid()

    def release(self) -> None:
        # In a forked child these calls would wait forever for threads that do not exist there.
        if os.getpid() != self._owner or self.device.value is None:
            return
        with quiet(self._output):
            for memory in self.memory:
                self._runtime.free_memory(self.device, memory)
            if self.engine:
                self._runtime.destroy(self.engine)
            self._runtime.free_device(self.device)


def describe(info: NetworkInfo) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return name and type code of each input and each output."""
    return (
        [(info.input_names[n].decode(), info.input_dtypes[n]) for n in range(info.input_count)],
        [(info.output_names[n].decode(), info.output_dtypes[n]) for n in range(info.output_count)],
    )


def _names(tensors: tuple[TensorSpec, ...]) -> list[tuple[str, int]]:
    return [(tensor.name, _DTYPE_CODES[tensor.dtype]) for tensor in tensors]


@functools.cache
def load_runtime(libraries: RuntimeLibraries) -> Runtime:
    """Load the libraries, once a process."""
    with quiet(process_output()):
        return Runtime(libraries)
