"""Random draws that give the same numbers with every numpy: only PCG64's raw words, whose stream numpy guarantees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Choice = TypeVar("Choice")


class Dice:
    """A stream of draws: equal seeds give equal streams, on any machine."""

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))

    def unit(self) -> float:
        """A number in [0, 1) with 53 random bits."""
        return float(int(self._bits.random_raw()) >> 11) * 2.0**-53

    def units(self, count: int) -> NDArray[np.float64]:
        """(count,) numbers in [0, 1)."""
        words: NDArray[np.uint64] = self._bits.random_raw(count)
        numbers: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return numbers

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def whole(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + int(self.unit() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def pick(self, choices: Sequence[Choice]) -> Choice:
        """One of the choices, all equally likely."""
        return choices[self.whole(0, len(choices) - 1)]

    def bytes(self, *shape: int) -> NDArray[np.uint8]:
        """Independent random bytes in an array of this `shape`."""
        count = 1
        for extent in shape:
            count *= extent
        words: NDArray[np.uint64] = self._bits.random_raw((count + 7) // 8)
        return words.astype("<u8").view(np.uint8)[:count].reshape(shape)
