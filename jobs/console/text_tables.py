"""Tables as text: Markdown for people, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Sequence

from jobs.report.format import NONE


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, text: Collection[str] = ()) -> str:
    """A table in Markdown; columns named in `text` are words, set left, the others figures, set right."""
    rules = ["---" if name in text else "---:" for name in head]
    return "\n".join(_line(cells) for cells in (head, rules, *rows))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def csv_text(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV with LF line ends; None is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()


def figure(value: float | None, digits: int, *, sign: bool = False) -> str:
    """A figure with a fixed number of digits; a dash for what is not known."""
    if value is None:
        return NONE
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
