"""Processes that tests start, so that none outlives its test, whatever fails in between; and how others are found."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Whoever has not ended by then hangs. A guard and no measure: many times what the slowest of them takes alone.
HANG_S = 1800.0

_started: list[subprocess.Popen[str]] = []


def scaled_s(seconds: float) -> float:
    """A limit for an idle machine, stretched by how many processes now want each core: a busy machine breaks none."""
    return seconds * max(1.0, 2 * max(os.getloadavg()[:2]) / len(os.sched_getaffinity(0)))


def start_process(
    command: list[str], *, folder: Path, environment: Mapping[str, str], **more: Any
) -> subprocess.Popen[str]:
    """Start a program; `more` is for Popen, its pipes above all. It is ended with the test at the latest."""
    process = subprocess.Popen(command, cwd=folder, env=environment, text=True, **more)
    _started.append(process)
    return process


def end_what_is_left() -> None:
    """End every process that was started here, and close its pipes; one that has ended is left as it is."""
    while _started:
        process = _started.pop()
        process.kill()
        process.wait()
        for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
            pipe.close()


def processes_with(setting: str) -> list[int]:
    """The living processes that have this setting, NAME=value, in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if setting.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def command_of(pid: int) -> str:
    """A process's command line, its words separated by blanks; empty when it has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
