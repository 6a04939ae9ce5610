"""Folders for Ray's temporary files that no other user of the host can enter.

Ray gives its temporary folder and everything in it mode 777, and workers import code from there: whoever can enter it
can run code as the cluster's user. So it lies in a folder that only its owner can enter.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bmodel.errors import RunError


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user can enter, or check the one that is there; returns it.

    Raises RunError where it belongs to somebody else or is no folder: another user may have made it beforehand.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise RunError(
                f"the folder for Ray's temporary files must belong to this user, and '{folder}' does not"
            )
        folder.chmod(0o700)  # made with wider permissions by an earlier version
    except OSError as error:
        raise RunError(
            f"cannot make the folder for Ray's temporary files '{folder}': {error.strerror}"
        ) from error
    return folder


@contextmanager
def temporary_ray_folder() -> Iterator[Path]:
    """A folder for the temporary files of a local cluster, removed at the end; kept after an error, for its logs."""
    folder = Path(tempfile.mkdtemp(prefix="raysail-"))  # mode 700
    yield folder / "ray"
    shutil.rmtree(folder, ignore_errors=True)
