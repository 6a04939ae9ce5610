"""Turns what the compiler's tools print when they fail into one sentence with the cause."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from typing import Final

_OUT_OF_MEMORY: Final = "memory ran out"
_KILLED: Final = "was killed, as the kernel does when memory runs out"

# In this order: the first pattern found tells the cause, and what comes late is often a consequence.
_CAUSES: Final[tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]] = (
    (r"No space left on device", "the disk is full"),
    (r"MemoryError|std::bad_alloc|out of memory|Allocation failed|Cannot allocate memory", _OUT_OF_MEMORY),
    (
        r"Op not support:\{(.+)\}",
        lambda found: f"it does not know the operator {found[1].replace(chr(39), '')}",
    ),
    (
        r'"top\.(\w+)"\(.*loc\("([^"]+)"\)\s*\n(?:.*\n)?unimplemented tpu dialect',
        lambda found: f"the chip has no operator {found[1]} (layer '{found[2]}')",
    ),
    (
        r"input shapes error|Incompatible dimensions|ShapeInferenceError",
        "the network cannot have the input shape that was asked for",
    ),
    (r"google\.protobuf\.message\.DecodeError", "the file is not an ONNX file"),
    (r'loc\("([^"]+)"[^)]*\): error: (.+)', lambda found: f"layer '{found[1]}': {found[2].strip()}"),
    (r"^(?:LLVM ERROR: )(.+)", lambda found: found[1].strip()),
    (r"^(.*Assertion .+ failed.*|UNREACHABLE executed at .+)$", lambda found: found[1].strip()),
    (r"^(Segmentation fault|Aborted)", "it crashed"),
)
_PYTHON_ERROR: Final = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception)): (.*)$", re.MULTILINE)


def explain_failure(log: str, returncode: int) -> str:
    """Return the cause of a tool's failure, from its log and its exit status (negative: the signal that ended it)."""
    if returncode < 0:
        number = -returncode
        return _KILLED if number == signal.SIGKILL else f"was ended by {signal.Signals(number).name}"
    # Progress bars rewrite their line.
    text = log.replace("\r", "\n")
    for pattern, cause in _CAUSES:
        found = re.search(pattern, text, re.MULTILINE)
        if found:
            return cause if isinstance(cause, str) else cause(found)
    errors = _PYTHON_ERROR.findall(text)
    # The tools start the real compiler through a shell, which hides a signal: it just ends, without a word.
    if errors and errors[-1][1].startswith("[!Error]: tpuc-opt"):
        return _KILLED
    return f"{errors[-1][0]}: {errors[-1][1]}" if errors else f"it gave no reason (exit status {returncode})"
