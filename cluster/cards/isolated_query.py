"""Queries this host's cards in a separate process, with a time limit.

A driver may keep who asks it waiting for ever, or take the process down. For who runs no cluster, or none yet: during
a job its cards are asked by actors on every host (cluster/health/health_hosts.py), with the same limits.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any, Literal

from bmodel.errors import DeviceError, LibraryError, RaysailError

if TYPE_CHECKING:
    from tpu_worker.devices.sail import CardHealth

ANSWER_WITHIN_S = 4.0
# Starting the process may take long on a busy host: that is not the card's silence.
START_WITHIN_S = 60.0
END_WITHIN_S = 1.0
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from cluster.cards.isolated_query import main; main()"
_ERRORS: dict[str, type[RaysailError]] = {error.__name__: error for error in (DeviceError, LibraryError)}


@dataclass(frozen=True, kw_only=True, slots=True)
class CardCount:
    """How many cards SAIL sees, or libsophon where SAIL cannot tell; None where neither can.

    sail_error: why SAIL, which is there, does not load; empty when it does.
    """

    source: Literal["sail", "libsophon"]
    count: int | None
    sail_error: str = ""


def count_cards() -> CardCount:
    """Count this host's cards; raises DeviceError when the driver does not answer or takes the process down."""
    # It imports numpy, which must not delay the check of a command's options that imports this module.
    from tpu_worker.devices.choose_device import has_libsophon, has_sail

    if not (has_sail() or has_libsophon()):
        return CardCount(source="libsophon", count=None)
    return CardCount(**_query_in_process("this host's cards cannot be counted", "count"))


def read_card(device_id: int) -> CardHealth:
    """Ask a card from this process, by SAIL, or by libsophon where no SAIL loads; raises DeviceError or LibraryError."""
    from tpu_worker.devices import libsophon, sail
    from tpu_worker.devices.choose_device import has_sail

    if has_sail():
        with suppress(LibraryError):
            return sail.read_health(device_id)
    return libsophon.read_health(device_id)


def read_card_isolated(device_id: int) -> CardHealth:
    """Ask a card for its state, as `read_card` does; silence and a crash are a DeviceError too."""
    from tpu_worker.devices.sail import CardHealth

    return CardHealth(
        **_query_in_process(f"card {device_id}: its state cannot be read", "state", str(device_id))
    )


def sail_version() -> str:
    """SAIL's version, empty where it has none.

    Raises LibraryError when it does not load in this Python, DeviceError when it hangs or takes the process down.
    """
    return str(_query_in_process("SAIL cannot be loaded", "sail")["version"])


def main() -> None:
    """Run as the separate process: sys.argv holds Python's module path, the question and its arguments."""
    # Load first what takes long, SAIL and its libraries above all: the time limit is for the card's answer.
    import tpu_worker.devices.libsophon  # noqa: F401
    from tpu_worker.devices.choose_device import has_sail
    from tpu_worker.devices.sail import load_sail

    if has_sail():
        with suppress(LibraryError):  # reported by whatever needs it
            load_sail()
    # Nothing that a native library prints may become part of the answer.
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        answer.write("asking\n")
        answer.flush()
        try:
            found = _QUESTIONS[sys.argv[2]](*sys.argv[3:])
        except (DeviceError, LibraryError) as error:
            found = {"error": str(error), "kind": type(error).__name__}
        answer.write(json.dumps(found) + "\n")
    # The libraries' own clean-up may take as long as a card that hangs.
    os._exit(0)


def _count() -> dict[str, Any]:
    from tpu_worker.devices import libsophon, sail
    from tpu_worker.devices.choose_device import has_sail

    sail_error = ""
    if has_sail():
        try:
            if (count := sail.card_count()) is not None:
                return {"source": "sail", "count": count}
        except LibraryError as error:
            sail_error = str(error)
    return {"source": "libsophon", "count": libsophon.card_count(), "sail_error": sail_error}


def _state(device_id: str) -> dict[str, Any]:
    return asdict(read_card(int(device_id)))


def _sail() -> dict[str, Any]:
    from tpu_worker.devices.sail import load_sail

    return {"version": getattr(load_sail(), "__version__", None) or ""}


_QUESTIONS: dict[str, Callable[..., dict[str, Any]]] = {"count": _count, "state": _state, "sail": _sail}


def _query_in_process(what: str, *question: str) -> dict[str, Any]:
    """Ask a question in a separate process; raises what that raises, or DeviceError when it does not answer."""
    command = [sys.executable, "-c", _PROGRAM, json.dumps(list(map(str, sys.path))), *question]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, bufsize=0
        )
        try:
            lines = _Lines(process.stdout)
            if lines.next(START_WITHIN_S) == "":
                raise DeviceError(f"{what}: the query's process does not start")
            text = lines.next(ANSWER_WITHIN_S)
            if text == "":
                raise DeviceError(f"{what}: no answer within {ANSWER_WITHIN_S:g} s")
        except EOFError:
            raise DeviceError(f"{what}: the query failed: {_end_of(process, said)}") from None
        finally:
            _end(process)
    found: dict[str, Any] = json.loads(text)
    if "error" in found:
        raise _ERRORS[found["kind"]](found["error"])
    return found


class _Lines:
    """The lines of a pipe, each with a time limit."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        if pipe is None:
            raise ValueError("the process must have a pipe")
        self._descriptor = pipe.fileno()
        self._read = b""

    def next(self, within_s: float) -> str:
        """The next line, empty when it is late; raises EOFError when none will come."""
        deadline = time.monotonic() + within_s
        while b"\n" not in self._read:
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([self._descriptor], [], [], left_s)[0]:
                return ""
            piece = os.read(self._descriptor, 65536)
            if not piece:
                raise EOFError
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process; one that hangs in the driver may not even die, and is not waited for."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_WITHIN_S)
    if process.stdout is not None:
        process.stdout.close()


def _end_of(process: subprocess.Popen[bytes], said: IO[bytes]) -> str:
    """How a process ended that closed its pipe without an answer."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_WITHIN_S)
    code = process.returncode
    if code is not None and code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"it ended with code {code}" + (f": {last}" if last else "")
