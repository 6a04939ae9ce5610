"""The lock that names the one driver of a run; it dies with its driver, so a killed one is taken over at once."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bmodel.errors import ConfigurationError, RunError
from jobs.run.store import LocalStore, RunStore

LOCK = "run.lock"


@contextmanager
def run_lock(store: RunStore, *, wait_s: float = 2.0) -> Iterator[None]:
    """Own a run for the length of a `with` block.

    wait_s: a driver that was just killed may need a moment to let go.

    Raises RunError naming the other driver while that one lives, ConfigurationError where this one may not write.

    An object store has no locks: there a run is owned by agreement, and docs/operations.md says so.
    """
    if not isinstance(store, LocalStore):
        yield
        return
    path: Path = store.folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ConfigurationError(f"--output: cannot write into '{store.place}': {error.strerror}") from None
    try:
        if not _try(descriptor, time.monotonic() + wait_s):
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another driver"
            raise RunError(f"the run in '{store.place}' must have one driver, and {holder} is at work on it")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _try(descriptor: int, deadline_s: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.05)
        else:
            return True
