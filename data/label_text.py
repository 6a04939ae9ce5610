"""Label files as lines of text: what all text formats share, and how a bad line is reported."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_LABEL_BYTES: Final = 64 << 20
"""A label file describes one image; a larger file is not one, and is not read into memory."""


class FormatError(ValueError):
    """A label file breaks a rule of its format: file, line, rule and value in one sentence."""


OnProblem = Callable[[FormatError], None]
"""Takes the problem of one line. If it returns, the reader skips the line."""


def raise_problem(problem: FormatError) -> None:
    """Raise the problem: by default, a reader stops at the first bad line."""
    raise problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A line that is not blank: its number, from 1, and its fields, separated by spaces."""

    number: int
    fields: tuple[str, ...]


def read_text(path: Path) -> str:
    """Read a label file's text, without a byte order mark and with LF line ends.

    Raises FormatError if it is not a regular file (a FIFO would block for ever), not UTF-8, too large or unreadable.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(f"a label file must be a regular file: '{path}'")
        if status.st_size > MAX_LABEL_BYTES:
            raise FormatError(
                f"a label file must have at most {MAX_LABEL_BYTES} bytes, got {status.st_size}: '{path}'"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise FormatError(f"cannot read the label file '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        wrong = error.object[error.start]
        raise FormatError(
            f"a label file must be UTF-8, got byte 0x{wrong:02x} at {error.start}: '{path}'"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split_rows(text: str) -> list[Row]:
    """Split a text into its lines that are not blank."""
    pairs = ((number, tuple(line.split())) for number, line in enumerate(text.split("\n"), start=1))
    return [Row(number=number, fields=fields) for number, fields in pairs if fields]


def at(place: str, row: Row, rule: str, value: object) -> FormatError:
    """Describe a bad line, the same way for all formats: file, line number, rule, value."""
    return FormatError(f"{place}:{row.number}: {rule}, got {value}")


def keep_rows_of_length(
    rows: Sequence[Row], lengths: Sequence[int], *, layout: str, place: str, on_problem: OnProblem
) -> list[Row]:
    """Keep the rows with an allowed number of fields; the others go to `on_problem`."""
    kept = []
    for row in rows:
        if len(row.fields) in lengths:
            kept.append(row)
        else:
            on_problem(at(place, row, f"a line must be `{layout}`", f"{len(row.fields)} fields"))
    return kept


def numbers(
    rows: Sequence[Row], columns: slice, *, place: str, on_problem: OnProblem
) -> tuple[list[Row], NDArray[np.float64]]:
    """Parse columns of all rows as finite numbers; rows that hold anything else go to `on_problem`.

    Returns the remaining rows and their numbers, (rows, columns) float64. Raises FormatError only if `on_problem` does.
    """
    kept = list(rows)
    values = _parse(kept, columns)
    if values is None:
        kept = [row for row in rows if _has_numbers(row, columns, place=place, on_problem=on_problem)]
        values = _parse(kept, columns)
        if values is None:
            raise FormatError(f"a line cannot be read as numbers: '{place}'")
    return kept, values


def _parse(rows: Sequence[Row], columns: slice) -> NDArray[np.float64] | None:
    tokens = [row.fields[columns] for row in rows]
    if any("_" in token for fields in tokens for token in fields):  # Python reads 1_0 as 10
        return None
    try:
        values = np.array(tokens, dtype=np.float64)
    except ValueError:
        return None
    return values if bool(np.isfinite(values).all()) else None


def _has_numbers(row: Row, columns: slice, *, place: str, on_problem: OnProblem) -> bool:
    wrong = next((token for token in row.fields[columns] if not is_finite_number(token)), None)
    if wrong is not None:
        on_problem(at(place, row, "a value must be a finite number", repr(wrong)))
    return wrong is None


def is_finite_number(token: str) -> bool:
    """Whether a token is a decimal number: not nan, not inf, and not in a spelling that only Python knows."""
    try:
        return "_" not in token and bool(np.isfinite(float(token)))
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A rule for rows of numbers.

    holds: (rows,) where it holds.
    text: the rule, for error messages.
    values: (rows,) the column that it is about.
    """

    holds: NDArray[np.bool_]
    text: str
    values: NDArray[np.float64]


def check_rules(
    rows: Sequence[Row], rules: Sequence[Rule], *, place: str, on_problem: OnProblem
) -> NDArray[np.bool_]:
    """Return (rows,) bool: which rows obey every rule; any other goes to `on_problem` with the first rule it breaks."""
    obeys = np.logical_and.reduce([rule.holds for rule in rules]) if rules else np.ones(len(rows), np.bool_)
    for position in np.flatnonzero(~obeys):
        broken = next(rule for rule in rules if not rule.holds[position])
        on_problem(at(place, rows[int(position)], broken.text, f"{broken.values[position]:.10g}"))
    return np.asarray(obeys, np.bool_)
