"""What every pydantic model of the project shares: values do not change, and a fault is named with its place."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class FrozenModel(BaseModel):
    """A value that does not change once it is made."""

    model_config = ConfigDict(frozen=True)


class ExactModel(FrozenModel):
    """A value of which every field is known: none may be added or misspelt."""

    model_config = ConfigDict(extra="forbid")


def first_fault(error: ValidationError, *, whole: str = "") -> str:
    """The first fault of a validation as `place: rule`.

    whole: what to call the value as a whole, where the fault is in no part of it; without, the rule stands alone.
    """
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or whole
    return f"{place}: {first['msg']}" if place else str(first["msg"])
