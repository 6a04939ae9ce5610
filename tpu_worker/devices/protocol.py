"""What every device promises, and the check of its argument that they share."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import DeviceError
from bmodel.sidecar import ModelSpec

Batch = NDArray[np.float32]


class Device(Protocol):
    """A loaded network on one device.

    Built in the process that uses it and never shared by two threads. Closed by `close`, twice if you like.
    """

    @property
    def spec(self) -> ModelSpec:
        """The network that is loaded."""

    def run(self, batch: Batch) -> list[NDArray[np.float32]]:
        """Run a batch: float32 (N, 3, H, W), normalised as the spec says, N as in the spec.

        Returns one float32 array an output, in the order of `spec.outputs`, quantised outputs already scaled.
        The arrays are the caller's own. The argument is never changed; the GIL is released while the device
        works. Raises only DeviceError.
        """

    def close(self) -> None:
        """Give the device back; safe to call again."""


def check_batch(batch: Batch, spec: ModelSpec) -> None:
    """Raise DeviceError unless the batch is a float32 array of exactly the network's input shape."""
    if not isinstance(batch, np.ndarray):
        raise DeviceError(f"the input of '{spec.name}' must be a numpy array, got {type(batch).__name__}")
    if batch.dtype != np.float32:
        raise DeviceError(f"the input of '{spec.name}' must be float32, got {batch.dtype}")
    if batch.shape != spec.input.shape:
        raise DeviceError(f"the input of '{spec.name}' must have shape {spec.input.shape}, got {batch.shape}")
