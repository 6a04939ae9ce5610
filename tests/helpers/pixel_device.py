"""A device whose outputs follow from the pixels by plain arithmetic: real, tiny, and sensitive to every pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import DeviceError
from bmodel.sidecar import ModelSpec
from tpu_worker.devices.protocol import Batch, check_batch


class PixelDevice:
    """Each cell's logits are the means of its pixels times fixed numbers.

    Fails in the calls whose numbers (from 1) are in `failing`, and answers NaN in those in `nonsense`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        failing: frozenset[int] = frozenset(),
        nonsense: frozenset[int] = frozenset(),
    ) -> None:
        self._spec = spec
        self._failing = failing
        self._nonsense = nonsense
        self.batches: list[Batch] = []
        self.closed = 0

    @property
    def spec(self) -> ModelSpec:
        """The imaginary network."""
        return self._spec

    def run(self, batch: Batch) -> list[NDArray[np.float32]]:
        """Answer at once."""
        check_batch(batch, self._spec)
        self.batches.append(batch.copy())
        if len(self.batches) in self._failing:
            raise DeviceError(f"failed in call {len(self.batches)}")
        outputs = [np.zeros(output.shape, np.float32) for output in self._spec.outputs]
        for head in self._spec.heads:
            self._fill(outputs[head.output], batch, head.stride)
        if len(self.batches) in self._nonsense:
            outputs[0].fill(np.nan)
        return outputs

    def close(self) -> None:
        """Count the calls."""
        self.closed += 1

    def _fill(self, output: NDArray[np.float32], batch: Batch, stride: int) -> None:
        count, anchors, rows, columns, values = output.shape
        cells = batch.reshape(count, 3, rows, stride, columns, stride).mean(axis=(3, 5))
        weights = np.random.default_rng(stride).normal(0, 6, (anchors, values, 3)).astype(np.float32)
        np.einsum("ncij,avc->naijv", cells, weights, out=output)
