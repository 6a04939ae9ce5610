"""Whether a disk has room, asked before hours of work rather than after."""

from __future__ import annotations

import shutil
from pathlib import Path


def lack_of_space(folder: Path, needed_bytes: int) -> str | None:
    """Say what is missing on the disk that holds `folder`; None when there is room enough."""
    free = shutil.disk_usage(folder).free
    if free >= needed_bytes:
        return None
    return (
        f"the disk is too full: '{folder}' needs {needed_bytes / 1e9:.2f} GB free, it has {free / 1e9:.2f} GB"
    )
