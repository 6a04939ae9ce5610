"""A folder that appears whole or not at all: what a build writes grows beside its place and is renamed into it.

A failed build leaves its logs in `<name>.failed` and nothing else. What a killed process left behind is cleared away
by the next build of the same name, as soon as no compiler writes there any more: the compiler inherits the lock.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bmodel.errors import ToolError
from bmodel.files import FOREVER, lock

LOGS: Final = "logs"
_LOCK: Final = ".lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class Staging:
    """A build under way.

    folder: becomes the build's folder. lock_fd: to be handed to every process that writes into it.
    """

    folder: Path
    lock_fd: int

    @property
    def logs(self) -> Path:
        """Where the tools' logs go."""
        return self.folder / LOGS

    @property
    def work(self) -> Path:
        """Where the tools run; not kept."""
        return self.folder / "work"


@contextmanager
def building(target: Path) -> Iterator[Staging]:
    """Give a folder to build in; it becomes `target`, in place of an older one, unless the block raises."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(target)
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.building-"))
        folder.chmod(0o755)
    except OSError as error:
        raise ToolError(f"cannot build in '{target.parent}': {error.strerror}") from error
    with (folder / _LOCK).open("w", encoding="utf-8") as lock_file:
        try:
            lock(lock_file.fileno(), wait_s=FOREVER)
            staging = Staging(folder=folder, lock_fd=lock_file.fileno())
            staging.logs.mkdir()
            staging.work.mkdir()
            yield staging
            shutil.rmtree(staging.work)
            (folder / _LOCK).unlink()
            _put_in_place(folder, target)
        except OSError as error:
            raise ToolError(f"cannot write the build '{target}': {error.strerror}") from error
        finally:
            if folder.exists():
                _keep_logs(folder / LOGS, failed_folder(target))
                shutil.rmtree(folder, ignore_errors=True)


def failed_folder(target: Path) -> Path:
    """Where the logs of a failed build of `target` are kept."""
    return target.with_name(f"{target.name}.failed")


def _put_in_place(folder: Path, target: Path) -> None:
    old = folder.with_name(f"{folder.name}-old")
    if target.exists():
        target.rename(old)
    folder.rename(target)
    for outdated in (old, failed_folder(target)):
        shutil.rmtree(outdated, ignore_errors=True)


def _keep_logs(logs: Path, failed: Path) -> None:
    if not logs.is_dir() or not any(logs.iterdir()):
        return
    shutil.rmtree(failed, ignore_errors=True)
    # On a full disk the logs may not fit; the error that is under way matters more.
    try:
        shutil.copytree(logs, failed)
    except OSError:
        shutil.rmtree(failed, ignore_errors=True)


def _clear_leftovers(target: Path) -> None:
    for leftover in target.parent.glob(f".{target.name}.building-*"):
        try:
            descriptor = os.open(leftover / _LOCK, os.O_RDWR | os.O_CREAT)
        except OSError:
            continue
        try:
            if lock(descriptor):
                shutil.rmtree(leftover, ignore_errors=True)
        finally:
            os.close(descriptor)
