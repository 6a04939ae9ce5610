"""Freed memory stays with the process: large arrays come and go with every image."""

from __future__ import annotations

import ctypes
from typing import Final

# Of glibc's malloc.h. Blocks below the first limit, its largest, come from the heap instead of the kernel; a heap gives
# memory back only when more than the second is free at its end.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST_HEAP_BLOCK: Final = 32 * 1024 * 1024
_KEPT: Final = 512 * 1024 * 1024


def keep_freed_memory() -> bool:
    """Let this process keep what its images and outputs free; says whether the C library can be told so.

    By default, glibc takes an array of some megabytes from the kernel and gives it back, every time anew: a page
    fault each 4 KB, which costs a third of all that the host does for a full HD photograph.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK) and mallopt(_M_TRIM_THRESHOLD, _KEPT))
