"""Stands in for PyTorch in the compiler's environment, where it is copied to `torch/__init__.py`.

The compiler's ONNX path imports torch for a single expression, `torch.tensor(x).numpy()`; the real thing would add
gigabytes. Every other attribute raises ImportError, which is how libraries that can use torch learn to do without.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

__version__ = "0.0"


class Tensor:
    """An array that gives itself back."""

    def __init__(self, values: ArrayLike) -> None:
        self._values = np.asarray(values)

    def numpy(self) -> NDArray[np.generic]:
        """Return the array."""
        return self._values


def tensor(values: ArrayLike) -> Tensor:
    """Wrap an array."""
    return Tensor(values)


def __getattr__(name: str) -> NoReturn:
    raise ImportError(f"this is a stand-in for PyTorch without '{name}'")
