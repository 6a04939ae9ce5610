"""What the pipeline's threads pass on: calls, their launches, and the buffers that these occupy."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tpu_worker.boxes import Detections
from tpu_worker.letterbox import Letterbox
from tpu_worker.values import ImageFailure, ImageRef, ImageResult, PreparedOn, StageTimes


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """An image in its buffer: its place there, and the wall time of reading and of letterboxing, ms."""

    letterbox: Letterbox
    read_ms: float
    preprocess_ms: float
    prepared_on: PreparedOn = "host"


class Buffer:
    """A preallocated input batch, and the letterbox whose image each position holds (None: nothing usable)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.batch = np.zeros(shape, np.float32)
        self.holds: list[Letterbox | None] = [None] * shape[0]

    def clear(self, position: int) -> None:
        """Zero a position, so that nothing of an earlier image reaches the device."""
        self.batch[position].fill(0.0)
        self.holds[position] = None


class Call:
    """One `detect` call: its results as they come, or the error that ended it."""

    def __init__(self, images: Sequence[ImageRef]) -> None:
        self.images = images
        self.results: list[ImageResult | None] = [None] * len(images)
        self.error: BaseException | None = None
        self.finished = threading.Event()
        self._missing = len(images)
        self._lock = threading.Lock()

    def put(self, index: int, result: ImageResult) -> None:
        """Store the result of the image at `index`."""
        with self._lock:
            self.results[index] = result
            self._missing -= 1
            if self._missing == 0:
                self.finished.set()

    def fail(self, error: BaseException) -> None:
        """End the call with its first error; what is still under way for it is skipped."""
        with self._lock:
            self.error = self.error or error
        self.finished.set()


@dataclass(kw_only=True, slots=True)
class Launch:
    """One batch of a call on its way; `images[i]` sits at position i of the buffer."""

    call: Call
    number: int
    first: int
    images: Sequence[ImageRef]
    buffer: Buffer
    prepared: list[Prepared | None] = field(init=False)
    started_s: list[float] = field(init=False)
    inference_ms: float = 0.0
    _pending: int = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.prepared = [None] * len(self.images)
        self.started_s = [0.0] * len(self.images)
        self._pending = len(self.images)

    def prepared_one(self) -> bool:
        """Count a position as finished; returns whether it was the last."""
        with self._lock:
            self._pending -= 1
            return self._pending == 0

    def finish(
        self,
        position: int,
        outcome: Detections | ImageFailure,
        times: StageTimes,
        size_hw: tuple[int, int] | None,
    ) -> None:
        """Hand the outcome of a position to the call."""
        failure = outcome if isinstance(outcome, ImageFailure) else None
        prepared = self.prepared[position]
        result = ImageResult(
            image=self.images[position],
            size_hw=size_hw,
            detections=outcome if isinstance(outcome, Detections) else None,
            failure=failure,
            times=times,
            started_s=self.started_s[position],
            finished_s=time.monotonic(),
            batch=self.number,
            prepared_on=prepared.prepared_on if prepared else "host",
        )
        self.call.put(self.first + position, result)
