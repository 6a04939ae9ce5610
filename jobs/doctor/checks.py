"""One line of `raysail doctor`: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from bmodel.errors import RaysailError

Status = Literal["ok", "note", "fail"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A check's outcome. note: something is not there that not everybody needs. hint: what to do; empty when ok."""

    name: str
    status: Status
    found: str
    hint: str = ""

    def __post_init__(self) -> None:
        if (self.status == "fail") and not self.hint:
            raise ValueError(f"a failed check must have a hint, got none for '{self.name}'")


def run_checks(checks: Iterable[tuple[str, Callable[[], Iterable[Check]]]]) -> list[Check]:
    """Run named groups of checks; one that cannot be carried out has failed, and the others go on."""
    outcome: list[Check] = []
    for name, group in checks:
        try:
            outcome += group()
        except (RaysailError, ImportError, OSError) as error:
            reason = " ".join(f"{error}".split())
            hint = "this check could not be carried out; see the reason"
            outcome.append(
                Check(name=name, status="fail", found=f"{type(error).__name__}: {reason}", hint=hint)
            )
    return outcome
