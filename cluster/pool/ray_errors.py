"""What Ray raises → one sentence for people."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ray.exceptions import ActorDiedError, RayTaskError, RuntimeEnvSetupError

from bmodel.errors import RaysailError

_RAISED = re.compile(r"^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*): (.*)", re.MULTILINE | re.DOTALL)


def sentence_of(error: BaseException) -> str:
    """The cause of an error that came through Ray: our own errors in their own words, others by type and first line."""
    if (own := own_error(error)) is not None:
        return " ".join(str(own).split())
    cause = _cause(error)
    if isinstance(cause, ActorDiedError) and (raised := raised_in_constructor(str(cause))):
        return f"{raised[0]}: {raised[1]}"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    # Of a runtime environment the first line says only that it failed.
    telling = -1 if isinstance(cause, RuntimeEnvSetupError) else 0
    return f"{type(cause).__name__}: {lines[telling] if lines else 'no details'}"


def own_error(error: BaseException) -> RaysailError | None:
    """The error of Raysail's that came through Ray, rebuilt from its text where an actor's constructor raised it; None for any other."""
    cause = _cause(error)
    if isinstance(cause, RaysailError):
        return cause
    raised = raised_in_constructor(str(cause)) if isinstance(cause, ActorDiedError) else None
    kinds = {kind.__name__: kind for kind in _kinds(RaysailError)}
    return kinds[raised[0]](raised[1]) if raised and raised[0] in kinds else None


def _cause(error: BaseException) -> BaseException:
    return error.cause if isinstance(error, RayTaskError) and error.cause is not None else error


def _kinds(base: type[RaysailError]) -> Iterator[type[RaysailError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def raised_in_constructor(text: str) -> tuple[str, str] | None:
    """The class and the words of an actor's constructor's error, which Ray reports only as text, below its traceback."""
    _, is_constructors, traceback = text.partition("creation task")
    if not is_constructors:
        return None
    # A message of several lines begins with the last line that looks like an error.
    starts = [match.start() for match in re.finditer(r"^[A-Za-z_][\w.]*: ", traceback, re.MULTILINE)]
    if not starts or (match := _RAISED.match(traceback, starts[-1])) is None:
        return None
    return match[1], " ".join(match[2].split())
