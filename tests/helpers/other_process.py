"""Another process of this host that holds something, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.paths import ROOT

OPEN = "import sys; file = open(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def with_project() -> str:
    """PYTHONPATH with the project in front of what is there already, which may be SAIL."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


@contextmanager
def another_process(
    program: str, path: Path, user: int | None = None, *, name: str = "another"
) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs the program on the path until the block ends; it has to print "held".

    user: an argument for it. name: what it calls itself on its command line.
    """
    process = subprocess.Popen(
        [name, "-c", program, str(path), str(os.getuid() if user is None else user)],
        executable=sys.executable,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": with_project()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
