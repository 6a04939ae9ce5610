"""Runs `raysail detect` in a process that kills itself with SIGKILL at one point of a commit.

    python -m tests.ray.chaos.doomed STAGE:N <options of raysail detect>

Nothing of Raysail is replaced. Python reports every file that is about to be opened or renamed to an audit hook, and
the hook pulls the plug when the N-th commit of this process has got as far as STAGE:

    before-file      nothing of the commit is on the disk yet
    before-rename    the first temporary file is whole, and not yet renamed
    one-renamed      the images' file has its name, the detections' file has not been begun
    before-line      both files have their names, the commit's line is not there
    after-line       the commit's line is there (seen at the start of the next commit)
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from typing import Any

STAGES = ("before-file", "before-rename", "one-renamed", "before-line", "after-line")
_TEMPORARY = re.compile(r"/(images|detections)/\.part-[^/]*\.tmp$")


def _step(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The step of a commit that an audit event announces."""
    path = arguments[0] if arguments and isinstance(arguments[0], str | os.PathLike) else ""
    text = os.fspath(path)
    found = _TEMPORARY.search(text) if isinstance(text, str) else None
    if event == "open" and found:
        return {"images": "before-file", "detections": "one-renamed"}[found[1]]
    if event == "os.rename" and found:
        return {"images": "before-rename", "detections": "second-rename"}[found[1]]
    if event == "open" and isinstance(text, str) and text.endswith("/commits.jsonl"):
        return "before-line" if arguments[2] & os.O_APPEND else None
    return None


def doom(stage: str, number: int) -> None:
    """Have this process killed when its commit of that number (from 1) reaches the stage."""
    if stage not in STAGES:
        raise ValueError(f"stage must be one of {STAGES}, got '{stage}'")
    # A commit's line is known to be there when the next commit begins.
    awaited, count = ("before-file", number + 1) if stage == "after-line" else (stage, number)
    seen: Counter[str] = Counter()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in {"open", "os.rename"}:
            return
        step = _step(event, arguments)
        if step is not None:
            seen[step] += 1
            if step == awaited and seen[step] == count:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    stage_name, _, commit = sys.argv[1].partition(":")
    if stage_name != "never":
        doom(stage_name, int(commit))
    del sys.argv[1]
    from jobs.command_line import run_alone
    from jobs.detect import command

    run_alone(command, prog_name="doomed")
