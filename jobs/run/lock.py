"""The lock that names the one driver of a run; it dies with its driver, so a killed one is taken over at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bmodel.errors import ConfigurationError, RunError
from bmodel.files import lock, lock_signature, sign_lock
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
        if not lock(descriptor, wait_s=wait_s):
            holder = lock_signature(descriptor, unknown="another driver")
            raise RunError(f"the run in '{store.place}' must have one driver, and {holder} is at work on it")
        sign_lock(descriptor)
        yield
    finally:
        os.close(descriptor)
