"""Number and state of the cards by libsophon's libbmlib through ctypes, where there is no SAIL: the calls SAIL makes.

Names, types and the layout of `bm_dev_stat_t` are those of the vendor's header, bmlib/include/bmlib_runtime.h of
libsophon 0.5.1.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, Structure, byref, c_int, c_uint, c_void_p
from typing import ClassVar, Final

from bmodel.errors import DeviceError, LibraryError
from bmodel.libraries import find_card_libraries
from tpu_worker.devices.bmrt_binding import declare
from tpu_worker.devices.native_output import process_output, quiet
from tpu_worker.devices.sail import CardHealth

NOT_SUPPORTED: Final = 9


class CardState(Structure):
    """The leading part of bm_dev_stat_t: memory in MB, utilisation in percent.

    rest: the parts of the memory, 52 bytes that nobody reads here, with room for those of newer libraries.
    """

    _fields_: ClassVar = [
        ("memory_total", c_int),
        ("memory_used", c_int),
        ("utilisation", c_int),
        ("rest", c_int * 128),
    ]


def card_count() -> int | None:
    """Return how many cards libsophon sees on this host; None where it cannot tell, as without it or a driver."""
    try:
        status, count = _count(_load_driver())
    except LibraryError:
        return None
    return None if status else count


def read_health(device_id: int) -> CardHealth:
    """Ask a card for its state; raises DeviceError when it does not answer, LibraryError when libsophon cannot tell."""
    driver = _load_driver()
    chip, board, state = c_uint(), c_uint(), CardState()
    with quiet(process_output()) as start, _opened(driver, device_id, start) as handle:
        # Temperatures first: a library without a card behind it says of the third that all is well.
        for call, answer, kind in (
            ("bm_get_chip_temp", chip, c_uint),
            ("bm_get_board_temp", board, c_uint),
            ("bm_get_stat", state, CardState),
        ):
            status = declare(driver, call, c_int, c_void_p, POINTER(kind))(handle, byref(answer))
            if status == NOT_SUPPORTED:
                raise LibraryError(
                    f"card {device_id}: this libsophon cannot tell its state: it has no {call}"
                )
            _check(status, f"card {device_id}: its state cannot be read: {call}", start)
    return CardHealth(
        chip_temperature_c=chip.value,
        board_temperature_c=board.value,
        memory_total_mb=state.memory_total,
        memory_used_mb=state.memory_used,
        utilisation_percent=state.utilisation,
    )


def _load_driver() -> ctypes.CDLL:
    path = find_card_libraries().driver
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise LibraryError(f"libsophon cannot be loaded: {error}") from error


def _count(driver: ctypes.CDLL) -> tuple[int, int]:
    """The status of the question, and its answer."""
    count = c_int()
    return declare(driver, "bm_dev_getcount", c_int, POINTER(c_int))(byref(count)), count.value


@contextmanager
def _opened(driver: ctypes.CDLL, device_id: int, start: int) -> Iterator[c_void_p]:
    handle = c_void_p()
    status, count = _count(driver)
    _check(status, f"card {device_id}: the cards cannot be counted: bm_dev_getcount", start)
    if device_id >= count:  # not every version survives being asked for such a one
        raise DeviceError(f"card {device_id}: there is no such card: there are {count}")
    release = declare(driver, "bm_dev_free", None, c_void_p)
    status = declare(driver, "bm_dev_request", c_int, POINTER(c_void_p), c_int)(byref(handle), device_id)
    _check(status, f"card {device_id}: it cannot be opened: bm_dev_request", start)
    try:
        yield handle
    finally:
        release(handle)


def _check(status: int, what: str, start: int) -> None:
    if status:
        text = process_output().last_lines(start)
        raise DeviceError(f"{what} answered {status} ({text})")
