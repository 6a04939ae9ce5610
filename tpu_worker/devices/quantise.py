"""Numbers in the network's own type: q = round(x · scale + zero point) on the way in, x = (q - zero point) · scale out.

Rounding is half away from zero, as C's round does it and as the vendor's runtime and SAIL do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import TensorSpec


def quantise(values: NDArray[np.float32], tensor: TensorSpec) -> NDArray[Any]:
    """Return values of any shape in a tensor's type, contiguous; for float32 the array itself where it already is."""
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return np.ascontiguousarray(values, dtype=dtype)
    # Contiguous from here on: every array below keeps the order of the one before.
    scaled = np.ascontiguousarray(values) * np.float32(tensor.scale)
    if tensor.zero_point:
        scaled += np.float32(tensor.zero_point)
    whole = np.trunc(scaled)
    # The rest is exact, so ties are seen as ties; adding a half first would round 0.49999997 up.
    scaled -= whole
    whole += scaled >= 0.5
    whole -= scaled <= -0.5
    limits = np.iinfo(dtype)
    np.clip(whole, limits.min, limits.max, out=whole)
    stored: NDArray[Any] = whole.astype(dtype)
    return stored


def dequantise(stored: NDArray[Any], tensor: TensorSpec) -> NDArray[np.float32]:
    """Return stored values of any shape as the real ones, in the same shape; for float32 the array itself."""
    if stored.dtype == np.float32:
        return stored
    values = stored.astype(np.float32)
    if stored.dtype.kind == "f":
        return values
    if tensor.zero_point:
        values -= np.float32(tensor.zero_point)
    values *= np.float32(tensor.scale)
    return values
