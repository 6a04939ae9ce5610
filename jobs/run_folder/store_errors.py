"""What both kinds of store share: errors become RunError at one border, and a damaged record is no record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from bmodel.errors import RunError


@contextmanager
def as_run_error(action: str, place: str, *, pass_missing: bool = False) -> Iterator[None]:
    """Raise what goes wrong in a `with` block as RunError.

    pass_missing: whether a file that is not there stays a FileNotFoundError.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if pass_missing and isinstance(error, FileNotFoundError):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RunError(f"cannot {action} '{place}': {reason}") from error


def json_or_none(text: bytes) -> dict[str, object] | None:
    """A commit's record; None where the text is damaged: then its images are done again."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
