"""Keeps what native libraries print out of the job's output, and keeps it for error messages.

The vendor's libraries print through C's `stdout` and `stderr`, and no switch silences them. Those two are variables
that can be pointed elsewhere; Python writes to the file descriptors itself, so its own output, from whichever
thread, is untouched. (Exchanging the descriptors would swallow other threads' lines.)

The text goes to memory, or is appended to the file that RAYSAIL_NATIVE_LOG names: needed when a library takes the
process down with it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_LAST_LINES: Final = 4
_lock: Final = threading.Lock()


class NativeOutput:
    """Where C's output of this process goes while native calls are under way."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._libc.fdopen.restype = ctypes.c_void_p
        self._libc.fdopen.argtypes = [ctypes.c_int, ctypes.c_char_p]
        self._libc.fflush.argtypes = [ctypes.c_void_p]
        self._libc.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t]
        self._descriptor = _open_log()
        self._file = self._libc.fdopen(self._descriptor, b"a")
        self._libc.setvbuf(self._file, None, 1, 4096)  # by line, so that a crash loses nothing
        self._stdout = ctypes.c_void_p.in_dll(self._libc, "stdout")
        self._stderr = ctypes.c_void_p.in_dll(self._libc, "stderr")
        self._own_stderr = self._stderr.value
        self._users = 0
        # The simulator's threads still print long after the last call: `stdout` is pointed away for good.
        self._libc.fflush(None)
        self._stdout.value = self._file

    def size(self) -> int:
        """How many bytes have been written so far."""
        self._libc.fflush(self._file)
        return os.fstat(self._descriptor).st_size

    def enter(self) -> None:
        """Point `stderr` away: one more call is under way."""
        with _lock:
            self._users += 1
            self._stderr.value = self._file

    def leave(self) -> None:
        """Give `stderr` back when no call is under way any more."""
        with _lock:
            self._users -= 1
            if not self._users:
                self._stderr.value = self._own_stderr

    def last_lines(self, start: int) -> str:
        """Return the last lines written since `start` (see `size`) as one line."""
        text = os.pread(self._descriptor, max(0, self.size() - start), start).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return "; ".join(lines[-_LAST_LINES:]) or "no message"


@contextmanager
def quiet(output: NativeOutput) -> Iterator[int]:
    """Run native calls without a word; yields where their text starts."""
    start = output.size()
    output.enter()
    try:
        yield start
    finally:
        output.leave()


def process_output() -> NativeOutput:
    """Return this process's own; made at the first call, made anew in a forked child."""
    global _output  # noqa: PLW0603 - C's stdout is one for the process, and so is this
    with _lock:
        if _output is None or _output[0] != os.getpid():
            _output = os.getpid(), NativeOutput()
        return _output[1]


_output: tuple[int, NativeOutput] | None = None


def _open_log() -> int:
    path = os.environ.get("RAYSAIL_NATIVE_LOG")
    if path:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    return os.memfd_create("raysail-native-output")
