"""A device that answers from recorded outputs after a set service time: real heads, without a card."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec
from tpu_worker.devices.protocol import Batch, check_batch


class ReplayDevice:
    """Answers launch after launch with the recorded ones in turn, whatever it is shown.

    The outputs are shared, not copied: nobody downstream writes into them.
    """

    def __init__(
        self, spec: ModelSpec, answers: Sequence[list[NDArray[np.float32]]], *, service_ms: float = 0.0
    ) -> None:
        self._spec = spec
        self._answers = itertools.cycle(answers)
        self._service_s = service_ms / 1e3
        self._lock = threading.Lock()

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def run(self, batch: Batch) -> list[NDArray[np.float32]]:
        until = time.perf_counter() + self._service_s
        check_batch(batch, self._spec)
        with self._lock:
            answer = next(self._answers)
        while (left := until - time.perf_counter()) > 0:
            time.sleep(left)
        return answer

    def close(self) -> None:
        pass
