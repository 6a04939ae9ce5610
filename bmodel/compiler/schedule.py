"""Reads the schedule that the compiler leaves for BM1684 (`_0.dat`): every command of the chip, with its cycles.

One line a step: a command of the compute engine in the left column, one of the transfer engine in the right, either
may be missing. The last lines give the total, the number of commands and the bytes moved; all of them are checked,
so that a truncated file is not mistaken for a fast network. The same compiler's profile for BM1684X looks alike and
says only in which order things happen, not how long they take: it is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bmodel.errors import ModelFileError
from bmodel.sidecar import Precision

CLOCK_HZ: Final = 550_000_000
CYCLES_PER_MS: Final = CLOCK_HZ / 1000
UNNAMED_KIND: Final = "Move"

# [Layer_12]|FUNCTION|s:start|b:compute commands so far|g:transfers so far|e:end|t:cycles[|dr:direction|sz:bytes]
_COMMAND: Final = re.compile(
    r"(?:(?P<kind>\w+)_(?P<layer>\d+))?\|(?P<function>\w+)\|s:(?P<start>\d+)\|b:(?P<compute>\d+)\|g:(?P<transfer>\d+)"
    r"\|e:(?P<end>\d+)\|t:(?P<cycles>\d+)(?:\|dr:(?P<direction>\d)\|sz:(?P<size>\d+))?(?=\s|$)"
)
_TOTAL: Final = re.compile(r"^API_END total_cycle:(\d+)\|b:(\d+)\|g:(\d+)\s*$", re.MULTILINE)
_BYTES: Final = re.compile(
    r"^GDMA SUMMARY : \|dr\[0\] S2L:(-?\d+)\|dr\[1\] L2S:(-?\d+)\|dr\[2\] S2S:(-?\d+)\|dr\[3\] L2L:(-?\d+)",
    re.MULTILINE,
)
_RESULT: Final = re.compile(r"^flops: (\d+), runtime: ([\d.]+)ms", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One command of one engine.

    number: its place among the engine's commands, from 1.
    layer: `Type_number` of the layer that it works for, as the compiler calls it; a move between two layers has none.
    kind: the type alone.
    start, end: first and last cycle.
    moved_bytes: what a transfer moves, 0 for a computation. direction: 0 memory to chip, 1 back, 2 within the memory,
    3 within the chip.
    """

    number: int
    layer: str | None
    kind: str
    function: str
    start: int
    end: int
    moved_bytes: int = 0
    direction: int = 0

    @property
    def cycles(self) -> int:
        """How long it takes."""
        return self.end - self.start + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A whole launch of the network on the chip; both engines' commands in the order of time, never overlapping."""

    compute: tuple[Command, ...]
    transfers: tuple[Command, ...]
    total_cycles: int
    flops: int

    @property
    def total_ms(self) -> float:
        """The compiler's own prediction."""
        return self.total_cycles / CYCLES_PER_MS

    @property
    def memory_bytes(self) -> int:
        """Bytes read from and written to the card's memory; a move within the memory does both."""
        return sum(
            command.moved_bytes * (2 if command.direction == 2 else 1)
            for command in self.transfers
            if command.direction != 3
        )

    @property
    def precision(self) -> Precision:
        """What its convolutions compute in."""
        functions = {command.function for command in self.compute}
        if "CONV_FIX8B" not in functions:
            return "fp32"
        return "mixed" if "CONV_FP32" in functions else "int8"


def read_schedule(path: Path) -> Schedule:
    """Read and check a schedule; raises ModelFileError naming the rule, the line and the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelFileError(f"a schedule is a text file, '{path}' is not") from error
    except OSError as error:
        raise ModelFileError(f"cannot read the schedule '{path}': {error.strerror}") from error
    return parse_schedule(text, name=str(path))


def parse_schedule(text: str, *, name: str) -> Schedule:
    """Read and check a schedule's text; `name` is its file for error messages."""
    if "ENGINE_BD" not in text:
        raise ModelFileError(f"'{name}' is not a schedule of the compiler: it has no column ENGINE_BD")
    if "bw: bandwidth" in text:
        raise ModelFileError(
            f"'{name}' is a profile for BM1684X: its numbers order networks, they are no milliseconds; "
            "only BM1684's schedule predicts a time"
        )
    compute, transfers = _read_commands(text, name)
    schedule = _read_totals(text, compute, transfers, name)
    _check_order(compute, name)
    _check_order(transfers, name)
    return schedule


def _read_commands(text: str, name: str) -> tuple[tuple[Command, ...], tuple[Command, ...]]:
    compute: list[Command] = []
    transfers: list[Command] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if "|s:" not in line:
            continue
        found = list(_COMMAND.finditer(line))
        if len(found) != line.count("|s:"):
            raise ModelFileError(f"line {number} of the schedule '{name}' is damaged")
        for match in found:
            (transfers if match["size"] else compute).append(_command(match, number, name))
    return tuple(compute), tuple(transfers)


def _command(match: re.Match[str], line: int, name: str) -> Command:
    is_transfer = match["size"] is not None
    command = Command(
        number=int(match["transfer" if is_transfer else "compute"]),
        layer=match["layer"] and f"{match['kind']}_{match['layer']}",
        kind=match["kind"] or UNNAMED_KIND,
        function=match["function"],
        start=int(match["start"]),
        end=int(match["end"]),
        moved_bytes=int(match["size"] or 0),
        direction=int(match["direction"] or 0),
    )
    if command.cycles != int(match["cycles"]):
        raise ModelFileError(
            f"line {line} of the schedule '{name}' is damaged: {command.start} to {command.end} "
            f"are not {match['cycles']} cycles"
        )
    return command


def _read_totals(
    text: str, compute: tuple[Command, ...], transfers: tuple[Command, ...], name: str
) -> Schedule:
    totals, moved, result = _TOTAL.findall(text), _BYTES.search(text), _RESULT.search(text)
    if not totals or moved is None or result is None:
        raise ModelFileError(f"the schedule '{name}' is cut off: its last lines with the totals are missing")
    if len(totals) > 1:
        raise ModelFileError(f"'{name}' must hold the schedule of one network, it holds {len(totals)}")
    total_cycles, compute_count, transfer_count = (int(value) for value in totals[0])
    if (len(compute), len(transfers)) != (compute_count, transfer_count):
        raise ModelFileError(
            f"the schedule '{name}' is incomplete: it must have {compute_count} computations and {transfer_count} "
            f"transfers, got {len(compute)} and {len(transfers)}"
        )
    last_cycle = max((command.end for command in (*compute, *transfers)), default=-1)
    if last_cycle + 1 != total_cycles:
        raise ModelFileError(
            f"the schedule '{name}' must end at cycle {total_cycles - 1}, it ends at {last_cycle}"
        )
    for direction in range(4):
        found = sum(command.moved_bytes for command in transfers if command.direction == direction)
        # The compiler adds up in 32 bits.
        if (found - int(moved[direction + 1])) % (1 << 32):
            raise ModelFileError(
                f"the schedule '{name}' must move {moved[direction + 1]} bytes in direction {direction}, got {found}"
            )
    # Another clock means another chip.
    if abs(total_cycles / CYCLES_PER_MS - float(result[2])) > 1e-5 + 1e-6 * float(result[2]):
        raise ModelFileError(
            f"the schedule '{name}' is not BM1684's: {total_cycles} cycles in {result[2]} ms are not 550 MHz"
        )
    return Schedule(compute=compute, transfers=transfers, total_cycles=total_cycles, flops=int(result[1]))


def _check_order(commands: tuple[Command, ...], name: str) -> None:
    free_at = 0
    for expected, command in enumerate(commands, start=1):
        if command.number != expected or command.start < free_at:
            raise ModelFileError(
                f"the schedule '{name}' is out of order at {command.layer or command.kind}, cycle {command.start}"
            )
        free_at = command.end + 1
