"""Files: their hash, writing them whole or not at all, locking them, and whether a disk has room for them."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import math
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

FOREVER: Final = math.inf


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its name at the end of the block, and goes if the block raises.

    The name is unique, so that two writers of one file do not disturb each other; the last one to end wins. It starts
    with a dot, which marks what is unfinished, and ends in `.tmp`. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path, *, sync: bool = False) -> Iterator[BinaryIO]:
    """A file to write that appears under its name only once it is complete; raises OSError.

    sync: its content is on the disk by then and its name soon after, when this returns: both survive a power cut.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        yield file
        file.flush()
        if sync:
            os.fsync(file.fileno())
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's list of names on the disk; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Put all that was written on the file system of `folder` on the disk; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: str | bytes, *, sync: bool = False) -> None:
    """Write a file, complete or not at all; text as UTF-8. Raises OSError."""
    with whole_file(path, sync=sync) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def lock(descriptor: int, *, wait_s: float = 0.0) -> bool:
    """Lock an open file for this process alone; False when another still holds it after `wait_s` seconds.

    The lock belongs to the open file: it is gone when its last descriptor is closed, however its process ended.
    """
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(0.05)
        else:
            return True


def sign_lock(descriptor: int) -> None:
    """Write into a locked file who holds it, for `lock_signature`."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def lock_signature(descriptor: int, *, unknown: str = "an unknown process") -> str:
    """Who signed a locked file, as `process 123 on host`; `unknown` where nobody did."""
    return os.pread(descriptor, 200, 0).decode(errors="replace").strip() or unknown


def lack_of_space(folder: Path, needed_bytes: int) -> str | None:
    """What is missing on the disk that holds `folder`, as a sentence; None when there is room enough."""
    free = shutil.disk_usage(folder).free
    if free >= needed_bytes:
        return None
    return (
        f"the disk is too full: '{folder}' needs {needed_bytes / 1e9:.2f} GB free, it has {free / 1e9:.2f} GB"
    )
