"""What Ray raises → one sentence for people."""

from __future__ import annotations

import re

from ray.exceptions import ActorDiedError, RayTaskError, RuntimeEnvSetupError

from bmodel.errors import RaysailError

_RAISED = re.compile(r"^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*): (.*)", re.MULTILINE | re.DOTALL)


def sentence_of(error: BaseException) -> str:
    """The cause of an error that came through Ray: our own errors in their own words, others by type and first line."""
    cause = error.cause if isinstance(error, RayTaskError) and error.cause is not None else error
    if isinstance(cause, RaysailError):
        return " ".join(str(cause).split())
    if isinstance(cause, ActorDiedError) and (raised := raised_in_constructor(str(cause))):
        return raised
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    # Of a runtime environment the first line says only that it failed.
    telling = -1 if isinstance(cause, RuntimeEnvSetupError) else 0
    return f"{type(cause).__name__}: {lines[telling] if lines else 'no details'}"


def raised_in_constructor(text: str) -> str | None:
    """The error of an actor's constructor, which Ray tells as text alone, a traceback and below it the error."""
    _, is_constructors, traceback = text.partition("creation task")
    if not is_constructors:
        return None
    # A message of several lines begins with the last line that looks like an error.
    starts = [match.start() for match in re.finditer(r"^[A-Za-z_][\w.]*: ", traceback, re.MULTILINE)]
    if not starts or (match := _RAISED.match(traceback, starts[-1])) is None:
        return None
    name, message = match[1], " ".join(match[2].split())
    own = {kind.__name__ for kind in RaysailError.__subclasses__()}
    return message if name in own else f"{name}: {message}"
