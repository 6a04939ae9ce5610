"""Ctrl-C and SIGTERM, kept waiting while a step must not be cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Let no handler of SIGTERM or SIGINT run within the block: it runs when the block has ended.

    Blocking the signals would not do: another thread of this process takes them, and Python still runs the handler
    in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    held_back = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in held_back:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in held_back.items():
            signal.signal(number, handler)
        for late in arrived:
            signal.raise_signal(late)
