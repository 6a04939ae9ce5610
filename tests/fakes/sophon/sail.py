"""SAIL as far as a detector uses it, with its traps, on the chip simulator's libbmrt.

The traps are meant: the ndarray overload of `Engine.process` holds the GIL for the whole inference, keeps one input
buffer for all threads and damages arrays that are not contiguous; the Tensor overloads scale nothing, check nothing
and return old data after a failed launch; an unknown network kills the process; the exceptions share no base.

`stand_in` makes things happen that no file provokes: a launch that fails, an error raised by a call.
"""

# ruff: noqa: ARG002 - arguments that the stand-in has no use for are part of the interface

from __future__ import annotations

import ctypes
import enum
import functools
import math
import os
import sys
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bmodel.libraries import find_simulator_libraries
from sophon._bmcv import (  # noqa: F401 - part of the interface
    Bmcv,
    BMImage,
    Decoder,
    Format,
    ImgDtype,
    PaddingAtrr,
    bmcv_resize_algorithm,
)
from tpu_worker.devices.bmrt_binding import STORE_1N, DeviceMemory, DeviceTensor, NetworkInfo, Runtime, Shape

_LIBRARIES = find_simulator_libraries()
_releasing = Runtime(_LIBRARIES)
_holding = Runtime(_LIBRARIES, ctypes.PyDLL)


class SailDeviceError(Exception):
    """A card is not there."""


class SailEngineError(Exception):
    """A BModel or an argument of an Engine is wrong."""


class SailTensorError(Exception):
    """An argument of a Tensor is wrong."""


class SailBMImageError(Exception):
    """An image operation failed."""


class SailDecoderError(Exception):
    """A file cannot be decoded."""


@dataclass
class StandIn:
    """What happens beyond the files' doing; `reset` forgets it.

    failing_launches: so many of the next launches fail, as on a card that hangs.
    errors: raised by the next calls of the function of that name.
    statuses: error numbers of the next calls of image operations of that name, which raise nothing.
    delays_s: how long the next calls of the function of that name take beforehand.
    calls: which functions were called, in order.
    """

    failing_launches: int = 0
    errors: dict[str, Exception] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    delays_s: dict[str, float] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def enter(self, name: str) -> None:
        self.calls.append(name)
        time.sleep(self.delays_s.pop(name, 0.0))
        if name in self.errors:
            raise self.errors.pop(name)

    def status(self, name: str) -> int:
        self.enter(name)
        return self.statuses.pop(name, 0)

    def reset(self) -> None:
        self.failing_launches = 0
        self.errors.clear()
        self.statuses.clear()
        self.delays_s.clear()
        self.calls.clear()


stand_in = StandIn()


class Dtype(enum.Enum):
    BM_FLOAT32 = 0
    BM_FLOAT16 = 1
    BM_INT8 = 2
    BM_UINT8 = 3
    BM_INT16 = 4
    BM_UINT16 = 5
    BM_INT32 = 6
    BM_UINT32 = 7


_NUMPY = {
    Dtype.BM_FLOAT32: np.dtype(np.float32),
    Dtype.BM_INT8: np.dtype(np.int8),
    Dtype.BM_UINT8: np.dtype(np.uint8),
    Dtype.BM_INT32: np.dtype(np.int32),
}


_OVERLOADS = [
    np.dtype(kind) for kind in (np.float32, np.int8, np.uint8, np.int32, np.uint32, np.int16, np.uint16)
]


class IOMode(enum.Enum):
    SYSI = 0
    SYSO = 1
    SYSIO = 2
    DEVIO = 3


def _log(text: str) -> None:
    """SAIL's log goes to C's stdout."""
    ctypes.CDLL(None).puts(f"[SAIL stand-in] {text}".encode())


def _die() -> None:
    sys.stdout.flush()
    ctypes.string_at(0)


def get_available_tpu_num() -> int:
    stand_in.enter("get_available_tpu_num")
    count = ctypes.c_int()
    if _releasing.device_count(ctypes.byref(count)) != 0:
        raise SailDeviceError("bm_dev_getcount failed")
    return count.value


def _require_card(device_id: int) -> None:
    if device_id != 0:
        raise SailDeviceError("bm_dev_request failed")


def get_board_temp(device_id: int) -> int:
    stand_in.enter("get_board_temp")
    _require_card(device_id)
    return 41


def get_chip_temp(device_id: int) -> int:
    stand_in.enter("get_chip_temp")
    _require_card(device_id)
    return 52


def get_dev_stat(device_id: int) -> list[int]:
    stand_in.enter("get_dev_stat")
    _require_card(device_id)
    return [12288, 310, 77]


def get_tpu_util(device_id: int) -> int:
    _require_card(device_id)
    return 77


@functools.cache
def _simulated_card() -> ctypes.c_void_p:
    """The one simulated card, open as long as the process lives.

    The simulator does not bear what a card does: given back without a network ever loaded, as after preprocessing
    alone, it takes the process along, at once or later.
    """
    device = ctypes.c_void_p()
    if _releasing.request_device(ctypes.byref(device), 0) != 0:
        raise SailDeviceError("init device failure")
    return device


class Handle:
    """A card, opened. The simulator's library ends the process for any card but the first."""

    def __init__(self, device_id: int) -> None:
        stand_in.enter("Handle")
        if device_id != 0:
            os._exit(255)
        self._device_id = device_id
        self.device = _simulated_card()

    def get_device_id(self) -> int:
        return self._device_id

    def get_sn(self) -> str:
        return "stand-in"

    def get_target(self) -> str:
        return "BM1684"


class Tensor:
    """Memory on the host, on the card, or on both."""

    def __init__(
        self,
        handle: Handle,
        shape_or_data: Any,
        dtype: Dtype | None = None,
        own_sys_data: bool = False,
        own_dev_data: bool = False,
    ) -> None:
        stand_in.enter("Tensor")
        data = shape_or_data if isinstance(shape_or_data, np.ndarray) else None
        if data is not None:
            dtype = next(kind for kind, numpy in _NUMPY.items() if numpy == data.dtype)
            own_sys_data, own_dev_data = True, True
        assert dtype is not None
        self._handle, self._dtype = handle, dtype
        self._shape = list(data.shape if data is not None else shape_or_data)
        self._system = np.zeros(self._shape, _NUMPY[dtype]) if own_sys_data else None
        self.memory = DeviceMemory()
        if own_dev_data:
            size = math.prod(self._shape) * _NUMPY[dtype].itemsize
            if _releasing.allocate(handle.device, ctypes.byref(self.memory), size) != 0:
                raise RuntimeError("bmlib api fail")
            weakref.finalize(self, _releasing.free_memory, handle.device, self.memory).atexit = False
        if data is not None:
            assert self._system is not None
            self._system[...] = data

    def shape(self) -> list[int]:
        return list(self._shape)

    def dtype(self) -> Dtype:
        return self._dtype

    def update_data(self, data: np.ndarray) -> None:
        stand_in.enter("update_data")
        if list(data.shape) != self._shape:
            raise SailTensorError("invalid argument")
        # Types that no overload takes become float32 on the way in.
        data = data if data.dtype in _OVERLOADS else data.astype(np.float32)
        if data.dtype != _NUMPY[self._dtype]:
            raise SailTensorError("Wrong dtype of input array!")
        assert self._system is not None
        self._system[...] = data

    def scale_from(self, data: np.ndarray, scale: float) -> None:
        """Rounds half to even, but half away from zero in the tail that no vector instruction takes.

        -128 is an int8 for the vector instructions, the tail's least is -127.
        """
        stand_in.enter("scale_from")
        if self._system is None:
            raise SailTensorError("invalid Tensor")
        values = np.asarray(data, np.float32).reshape(-1) * np.float32(scale)
        if len(values) > self._system.size:
            raise SailTensorError("size out of range")
        target = self._system.reshape(-1)[: len(values)]
        if target.dtype == np.float32:
            target[...] = values
            return
        whole = np.rint(values)
        tail = len(values) - len(values) % 4
        whole[tail:] = np.trunc(values[tail:] + np.copysign(0.5, values[tail:]))
        limits = np.iinfo(target.dtype)
        whole = np.clip(whole, limits.min, limits.max)
        if target.dtype == np.int8:
            whole[tail:] = np.maximum(whole[tail:], -127)
        target[...] = whole.astype(target.dtype)

    def scale_to(self, scale: float) -> np.ndarray:
        stand_in.enter("scale_to")
        if self._system is None:
            raise SailTensorError("invalid Tensor")
        return self._system.astype(np.float32) * np.float32(scale)

    def sync_s2d(self, size: int | None = None) -> None:
        if self._system is not None and self.memory.address:
            _copy_to(_releasing, self, self._system.nbytes if size is None else size)

    def sync_d2s(self, size: int | None = None) -> None:
        if self._system is not None and self.memory.address:
            _copy_from(_releasing, self, self._system.nbytes if size is None else size)

    def asnumpy(self) -> np.ndarray:
        stand_in.enter("asnumpy")
        if self._system is None:
            system = np.empty(self._shape, _NUMPY[self._dtype])
            _releasing.copy_from_device(self._handle.device, system.ctypes.data, self.memory, system.nbytes)
            return system
        return self._system.copy()


def _copy_to(runtime: Runtime, tensor: Tensor, size: int) -> None:
    assert tensor._system is not None
    runtime.copy_to_device(tensor._handle.device, tensor.memory, tensor._system.ctypes.data, size)


def _copy_from(runtime: Runtime, tensor: Tensor, size: int) -> None:
    assert tensor._system is not None
    runtime.copy_from_device(tensor._handle.device, tensor._system.ctypes.data, tensor.memory, size)


class Engine:
    """A loaded BModel of one network."""

    def __init__(self, bmodel_path: str, device_id: int, mode: IOMode) -> None:
        stand_in.enter("Engine")
        self._handle, self._mode = Handle(device_id), mode
        self._engine = _releasing.create(self._handle.device)
        # Freed with the object, in the order that C++ would: first what stands on the card.
        weakref.finalize(self, _free_engine, self._engine, self._handle).atexit = False
        if not Path(bmodel_path).is_file() or not _releasing.load(self._engine, os.fsencode(bmodel_path)):
            raise SailEngineError("invalid bmodel")
        self._graph = _first_name(self._engine)
        self._info: NetworkInfo = _releasing.network_info(self._engine, self._graph.encode()).contents
        self._own: dict[str, Tensor] = {}

    def get_graph_names(self) -> list[str]:
        return [self._graph]

    def get_handle(self) -> Handle:
        return self._handle

    def get_device_id(self) -> int:
        return self._handle.get_device_id()

    def get_input_names(self, graph: str) -> list[str]:
        self._require(graph)
        return [self._info.input_names[n].decode() for n in range(self._info.input_count)]

    def get_output_names(self, graph: str) -> list[str]:
        self._require(graph)
        return [self._info.output_names[n].decode() for n in range(self._info.output_count)]

    def get_input_shape(self, graph: str, name: str) -> list[int]:
        index = self.get_input_names(graph).index(name)
        return list(self._info.stages[0].input_shapes[index].as_tuple())

    def get_output_shape(self, graph: str, name: str) -> list[int]:
        index = self.get_output_names(graph).index(name)
        return list(self._info.stages[0].output_shapes[index].as_tuple())

    def get_input_dtype(self, graph: str, name: str) -> Dtype:
        return Dtype(self._info.input_dtypes[self.get_input_names(graph).index(name)])

    def get_output_dtype(self, graph: str, name: str) -> Dtype:
        return Dtype(self._info.output_dtypes[self.get_output_names(graph).index(name)])

    def get_input_scale(self, graph: str, name: str) -> float:
        return float(self._info.input_scales[self.get_input_names(graph).index(name)])

    def get_output_scale(self, graph: str, name: str) -> float:
        return float(self._info.output_scales[self.get_output_names(graph).index(name)])

    def create_input_tensors_map(self, graph: str, mode: int = -1) -> dict[str, Tensor]:
        return {
            name: Tensor(
                self._handle, self.get_input_shape(graph, name), self.get_input_dtype(graph, name), True, True
            )
            for name in self.get_input_names(graph)
        }

    def create_output_tensors_map(self, graph: str, mode: int = -1) -> dict[str, Tensor]:
        return {
            name: Tensor(
                self._handle,
                self.get_output_shape(graph, name),
                self.get_output_dtype(graph, name),
                True,
                True,
            )
            for name in self.get_output_names(graph)
        }

    def process(self, graph: str, inputs: dict[str, Any], *rest: Any) -> dict[str, np.ndarray] | None:
        stand_in.enter("process")
        self._require(graph)
        if not rest:
            return self._process_arrays(graph, inputs)
        shapes, outputs = rest if len(rest) == 2 else ({n: t.shape() for n, t in inputs.items()}, rest[0])
        self._process_tensors(_releasing, inputs, shapes, outputs)
        return None

    def _require(self, graph: str) -> None:
        if graph != self._graph:
            _die()

    def _process_arrays(self, graph: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The overload for arrays: the engine's own Tensors, scaling, and the GIL held by the library's calls."""
        if not self._own:
            self._own = {**self.create_input_tensors_map(graph), **self.create_output_tensors_map(graph)}
        for name, array in inputs.items():
            if name not in self.get_input_names(graph) or list(array.shape) != self.get_input_shape(
                graph, name
            ):
                raise SailEngineError("bad input")
            data = np.ascontiguousarray(array, np.float32)
            if not array.flags.c_contiguous:
                ctypes.memmove(array.ctypes.data, data.ctypes.data, data.nbytes)
            dtype = self.get_input_dtype(graph, name)
            scale = 1.0 if dtype == Dtype.BM_FLOAT32 else self.get_input_scale(graph, name)
            self._own[name].scale_from(data, scale)
        # Other threads get their turn here, and write into the same Tensors.
        time.sleep(0.001)
        names = self.get_input_names(graph), self.get_output_names(graph)
        tensors = [{name: self._own[name] for name in part} for part in names]
        self._process_tensors(_holding, tensors[0], {n: t.shape() for n, t in tensors[0].items()}, tensors[1])
        return {
            name: self._own[name].scale_to(
                1.0
                if self.get_output_dtype(graph, name) == Dtype.BM_FLOAT32
                else self.get_output_scale(graph, name)
            )
            for name in names[1]
        }

    def _process_tensors(
        self,
        runtime: Runtime,
        inputs: dict[str, Tensor],
        shapes: dict[str, list[int]],
        outputs: dict[str, Tensor],
    ) -> None:
        names = self.get_input_names(self._graph), self.get_output_names(self._graph)
        arrays = (DeviceTensor * len(inputs))(), (DeviceTensor * len(outputs))()
        fits = True
        for part, array, maps in zip(names, arrays, (inputs, outputs), strict=True):
            dtypes = self._info.input_dtypes if maps is inputs else self._info.output_dtypes
            for name, tensor in maps.items():
                # A name that is not known means the first one.
                fits &= name in part
                index = part.index(name) if name in part else 0
                if index < len(array):
                    array[index] = DeviceTensor(dtypes[index], Shape(), tensor.memory, STORE_1N)
        for name, tensor in inputs.items():
            index = names[0].index(name) if name in names[0] else 0
            arrays[0][index].shape = Shape.of(tuple(shapes[name]))
            if self._mode in {IOMode.SYSI, IOMode.SYSIO}:
                size = min(math.prod(shapes[name]) * _NUMPY[tensor.dtype()].itemsize, tensor.memory.size)
                _copy_to(runtime, tensor, size)
        fits &= len(inputs) == len(names[0]) and len(outputs) == len(names[1])
        if stand_in.failing_launches:
            stand_in.failing_launches -= 1
            fits = False
        launched = fits and runtime.launch(
            self._engine, self._graph.encode(), arrays[0], len(inputs), arrays[1], len(outputs), True, True
        )
        runtime.synchronise(self._handle.device)
        if not launched:
            _log("bmrt_launch_tensor_ex() err")
        if self._mode in {IOMode.SYSO, IOMode.SYSIO}:
            for tensor in outputs.values():
                _copy_from(runtime, tensor, tensor.memory.size)


def _first_name(engine: int) -> str:
    library = ctypes.CDLL(str(_LIBRARIES.runtime))
    names = ctypes.POINTER(ctypes.c_char_p)()
    library.bmrt_get_network_names.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.POINTER(ctypes.c_char_p)),
    ]
    library.bmrt_get_network_names(engine, ctypes.byref(names))
    return bytes(names[0]).decode()


def _free_engine(engine: int, handle: Handle) -> None:
    """The handle is an argument so that it outlives the engine."""
    _releasing.destroy(engine)
