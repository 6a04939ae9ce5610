"""A file that arms a fault in a timed device of another process: `ACTION [device=N] [ms=MS] [always]`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from bmodel.errors import DeviceError
from tpu_worker.option_values import FaultAction


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Something that goes wrong.

    device_id: the only card that suffers it; None for whichever comes first.
    slow_ms: how much longer a slow call takes.
    always: every call suffers it, not one alone.
    """

    action: FaultAction
    device_id: int | None = None
    slow_ms: float | None = None
    always: bool = False


def take_fault(path: Path | None, device_id: int) -> Fault | None:
    """Return the fault that is armed for a card now; one that is not `always` is taken by one call alone."""
    place = path or os.environ.get("RAYSAIL_FAULT_FILE")
    if not place:
        return None
    path = Path(place)
    try:
        text = path.read_text(encoding="utf-8")
        if not text.strip():  # It is just being written.
            return None
        fault = parse_fault(text, place=str(path))
        if fault.device_id not in {None, device_id}:
            return None
        if not fault.always:
            # Renaming is atomic: of several processes that have read the file exactly one gets on.
            path.rename(path.with_name(f"{path.name}.taken-{os.getpid()}"))
    except FileNotFoundError:
        return None
    return fault


def parse_fault(text: str, *, place: str) -> Fault:
    """Parse a fault file's line."""
    action: FaultAction | None = None
    device_id: int | None = None
    slow_ms: float | None = None
    always = False
    for word in text.split():
        key, _, value = word.partition("=")
        known = [name for name in get_args(FaultAction) if name == word]
        if known and action is None:
            action = known[0]
        elif key == "device" and value.isdigit():
            device_id = int(value)
        elif key == "ms" and value.replace(".", "", 1).isdigit():
            slow_ms = float(value)
        elif word == "always":
            always = True
        else:
            raise DeviceError(
                f"a fault must be 'ACTION [device=N] [ms=MS] [always]', got '{word}' in '{place}'"
            )
    if action is None:
        raise DeviceError(f"a fault must name an action of {get_args(FaultAction)} in '{place}'")
    return Fault(action=action, device_id=device_id, slow_ms=slow_ms, always=always)
