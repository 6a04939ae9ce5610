"""What another user of the host can do, for tests; only root can become somebody else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

NOBODY = 65534


def needs_root() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can act as another user")


def can_enter(folder: Path) -> bool:
    """Whether user nobody can list a folder."""
    done = subprocess.run(
        ["/bin/ls", str(folder)], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True
    )
    return done.returncode == 0
