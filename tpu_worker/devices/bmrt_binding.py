"""The vendor's C runtime through ctypes: the few structures and calls that running a network needs.

The same calls drive a real card (libsophon) and the chip simulator. Only fields that every libbmrt has are read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, Structure, c_bool, c_char_p, c_float, c_int, c_uint, c_uint64, c_void_p
from typing import Any, ClassVar, Final

from bmodel.errors import LibraryError
from bmodel.libraries import RuntimeLibraries

MAXIMUM_DIMENSIONS: Final = 8
STORE_1N: Final = 0


class Shape(Structure):
    """bm_shape_t."""

    _fields_: ClassVar = [("num_dims", c_int), ("dims", c_int * MAXIMUM_DIMENSIONS)]

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Shape:
        """Return the C structure of a shape."""
        return cls(len(shape), (c_int * MAXIMUM_DIMENSIONS)(*shape))

    def as_tuple(self) -> tuple[int, ...]:
        """Return the shape."""
        return tuple(self.dims[: self.num_dims])


class DeviceMemory(Structure):
    """bm_device_mem_t, passed by value."""

    _fields_: ClassVar = [
        ("address", c_uint64),
        ("reserved", c_uint),
        ("dmabuf_fd", c_int),
        ("flags", c_uint),
        ("size", c_uint),
    ]


class DeviceTensor(Structure):
    """bm_tensor_t."""

    _fields_: ClassVar = [("dtype", c_int), ("shape", Shape), ("memory", DeviceMemory), ("store_mode", c_int)]


class StageInfo(Structure):
    """bm_stage_info_t."""

    _fields_: ClassVar = [
        ("input_shapes", POINTER(Shape)),
        ("output_shapes", POINTER(Shape)),
        ("input_memory", POINTER(DeviceMemory)),
        ("output_memory", POINTER(DeviceMemory)),
    ]


class NetworkInfo(Structure):
    """The leading part of bm_net_info_t; newer libraries have more behind it."""

    _fields_: ClassVar = [
        ("name", c_char_p),
        ("is_dynamic", c_bool),
        ("input_count", c_int),
        ("input_names", POINTER(c_char_p)),
        ("input_dtypes", POINTER(c_int)),
        ("input_scales", POINTER(c_float)),
        ("output_count", c_int),
        ("output_names", POINTER(c_char_p)),
        ("output_dtypes", POINTER(c_int)),
        ("output_scales", POINTER(c_float)),
        ("stage_count", c_int),
        ("stages", POINTER(StageInfo)),
    ]


class Runtime:
    """Both libraries with every call declared. Status codes are 0 for success; the others return true for success."""

    def __init__(
        self, libraries: RuntimeLibraries, loader: Callable[[str], ctypes.CDLL] = ctypes.CDLL
    ) -> None:
        """Load the libraries; `loader` decides whether calls release the GIL (ctypes.CDLL) or hold it (PyDLL)."""
        try:
            loaded = [loader(str(path)) for path in libraries.load_order]
        except OSError as error:
            raise LibraryError(f"cannot load the vendor's runtime: {error}") from error
        driver, runtime = loaded[-2:]
        self.device_count = declare(driver, "bm_dev_getcount", c_int, POINTER(c_int))
        self.request_device = declare(driver, "bm_dev_request", c_int, POINTER(c_void_p), c_int)
        self.free_device = declare(driver, "bm_dev_free", None, c_void_p)
        self.allocate = declare(
            driver, "bm_malloc_device_byte", c_int, c_void_p, POINTER(DeviceMemory), c_uint
        )
        self.free_memory = declare(driver, "bm_free_device", None, c_void_p, DeviceMemory)
        self.copy_to_device = declare(
            driver, "bm_memcpy_s2d_partial", c_int, c_void_p, DeviceMemory, c_void_p, c_uint
        )
        self.copy_from_device = declare(
            driver, "bm_memcpy_d2s_partial", c_int, c_void_p, c_void_p, DeviceMemory, c_uint
        )
        self.synchronise = declare(driver, "bm_thread_sync", c_int, c_void_p)
        self.create = declare(runtime, "bmrt_create", c_void_p, c_void_p)
        self.destroy = declare(runtime, "bmrt_destroy", None, c_void_p)
        self.load = declare(runtime, "bmrt_load_bmodel", c_bool, c_void_p, c_char_p)
        self.network_info = declare(
            runtime, "bmrt_get_network_info", POINTER(NetworkInfo), c_void_p, c_char_p
        )
        self.launch = declare(
            runtime,
            "bmrt_launch_tensor_ex",
            c_bool,
            *(c_void_p, c_char_p, POINTER(DeviceTensor), c_int, POINTER(DeviceTensor), c_int, c_bool, c_bool),
        )


def declare(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A call of a library with its types; raises LibraryError where the library has none of that name."""
    try:
        function = getattr(library, name)
    except AttributeError as error:
        raise LibraryError(f"the vendor's runtime is another version: {error}") from error
    function.restype = result
    function.argtypes = arguments
    return function  # type: ignore[no-any-return]
