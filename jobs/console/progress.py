"""Progress of a run: a live line with ETA on a terminal, a plain line from time to time in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0
# Images after which it is said that none of them had a detection.
FIRST_IMAGES = 100


def nothing_found(images: int) -> str:
    """What people are told when none of so many images has a detection."""
    return (
        f"Warning: no detection on any of {images} images. If they should have some, the model's outputs may be of "
        "another layout, or its input prepared otherwise than it wants: 'raysail inspect' says what is assumed."
    )


class RunProgress:
    """Counts images; used as a context manager, from one thread. Writes to standard error: results go to stdout."""

    def __init__(self, *, total: int, already: int = 0, stream: TextIO | None = None) -> None:
        stream = stream or sys.stderr
        self._total, self._done, self._already = total, already, already
        self._failed = 0
        self._detections = 0
        self._has_warned = already > 0  # what was found before is not known here
        self._started_s = time.monotonic()
        self._next_line_s = self._started_s + LINE_EVERY_S
        self._stream = stream
        self._live: Progress | None = None
        console = Console(file=stream)
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._live.add_task("starting", total=total, completed=already, rate="")

    def __enter__(self) -> RunProgress:  # noqa: PYI034 - Self is not in Python 3.10
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        elif self._done > self._already:
            self._line()

    def advance(self, images: int, *, failed: int, detections: int) -> None:
        """Count images as committed, `failed` of them for a reason, with their detections together."""
        self._done += images
        self._failed += failed
        self._detections += detections
        self._warn_of_nothing()
        if self._live:
            self._live.update(self._task, description="detecting", completed=self._done, rate=self._rate())
        elif time.monotonic() > self._next_line_s:
            self._next_line_s = time.monotonic() + LINE_EVERY_S
            self._line()

    def _warn_of_nothing(self) -> None:
        ok = self._done - self._failed
        if not self._has_warned and not self._detections and ok >= FIRST_IMAGES:
            self._has_warned = True
            self.tell(nothing_found(ok))

    def tell(self, sentence: str) -> None:
        """Print something that users should not miss."""
        if self._live:
            self._live.console.print(sentence, markup=False, highlight=False)
        else:
            self._stream.write(sentence + "\n")
            self._stream.flush()

    def _rate(self) -> str:
        elapsed = time.monotonic() - self._started_s
        return f"{(self._done - self._already) / elapsed:.1f} images/s" if elapsed > 0 else ""

    def _line(self) -> None:
        elapsed = time.monotonic() - self._started_s
        speed = (self._done - self._already) / elapsed if elapsed else 0.0
        left = (
            f", {(self._total - self._done) / speed:.0f} s left" if speed and self._done < self._total else ""
        )
        failed = f", {self._failed} failed" if self._failed else ""
        self.tell(f"{self._done} of {self._total} images, {self._rate()}{left}{failed}")
