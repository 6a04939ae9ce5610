"""Numbers and tables as people read them, and CSV for programs. What is not known is a dash, never a zero."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence

NONE = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"
MOST_ITEMS = 12
SPACE = "\N{NARROW NO-BREAK SPACE}"


def fraction(value: float | None, digits: int = 3) -> str:
    """A figure in 0..1, as mAP is quoted."""
    return NONE if value is None else f"{value:.{digits}f}"


def count(value: int) -> str:
    """A whole number, its thousands apart."""
    return f"{value:,}".replace(",", SPACE)


def decimal(value: float | None) -> str:
    """Three significant digits, more where the whole part has more."""
    if value is None:
        return NONE
    if value == 0:
        return "0"
    digits = next((places for limit, places in ((100, 0), (10, 1), (1, 2)) if abs(value) >= limit), 3)
    return f"{value:,.{digits}f}".replace(",", SPACE)


def milliseconds(value: float | None) -> str:
    """A time in ms, with its unit."""
    return NONE if value is None else f"{decimal(value)}{SPACE}ms"


def percent(value: float | None) -> str:
    """A share in 0..1 as whole percent; what is little but not nothing says so."""
    if value is None:
        return NONE
    return f"<1{SPACE}%" if 0 < value < 0.005 else f"{value * 100:.0f}{SPACE}%"


def duration(seconds: float) -> str:
    """A length of time in its two largest units."""
    if seconds < 60:
        return f"{decimal(seconds)}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next(place for place, (amount, _) in enumerate(parts) if amount)
    shown = [f"{amount}{SPACE}{unit}" for amount, unit in parts[first : first + 2] if amount]
    return SPACE.join(shown)


def plural(number: int, one: str, many: str | None = None) -> str:
    """The number with its noun."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def setting(value: object) -> str:
    """A configuration value in one line."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        more = f" and {len(value) - MOST_ITEMS} more" if len(value) > MOST_ITEMS else ""
        return ", ".join(str(item) for item in value[:MOST_ITEMS]) + more
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {setting(item)}" for key, item in value.items())
    return str(value)


def markdown_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, text: Collection[str] | None = None
) -> str:
    """A table in Markdown; columns named in `text` (the first, if omitted) are words, set left, the others figures."""
    words = head[:1] if text is None else text
    rules = ["---" if name in words else "---:" for name in head]
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
