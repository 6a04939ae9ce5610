"""Batches of varied scenes, prepared by a thread while the network computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.training.augment import Variation, vary
from models.training.scene_store import SceneStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A training batch.

    images: (N, 3, S, S) float32 RGB in 0..1.
    targets: (T, 6) image, class, centre x, centre y, w, h in pixels.
    """

    images: Tensor
    targets: Tensor


def make_batch(store: SceneStore, step: int, size: int, side_px: int, variation: Variation) -> Batch:
    """Batch number `step`: each epoch has every scene once, in an order of its own."""
    random = np.random.default_rng((step, 20))
    squares, targets = [], []
    for place in range(size):
        scene = vary(store[_scene_number(store, step * size + place)], side_px, random, variation)
        squares.append(scene.bgr)
        left, top, right, bottom = scene.boxes[:, 1:].T
        number = np.full_like(left, place)
        columns = (
            number,
            scene.boxes[:, 0],
            (left + right) / 2,
            (top + bottom) / 2,
            right - left,
            bottom - top,
        )
        targets.append(np.stack(columns, 1))
    return Batch(images=to_input(np.stack(squares)), targets=torch.from_numpy(np.concatenate(targets)))


def to_input(bgr: np.ndarray) -> Tensor:
    """(N, S, S, 3) uint8 BGR → (N, 3, S, S) float32 RGB in 0..1."""
    pixels = torch.from_numpy(np.ascontiguousarray(bgr[..., ::-1]))
    return pixels.permute(0, 3, 1, 2).float() / 255


def _scene_number(store: SceneStore, seen: int) -> int:
    epoch, place = divmod(seen, len(store))
    # A permutation that needs no memory: multiply by a number coprime to the count.
    factor = 7919 + 2 * epoch
    while np.gcd(factor, len(store)) != 1:
        factor += 1
    return (place * factor + epoch * 104729) % len(store)


def prefetch(make: Callable[[int], Batch], first: int, last: int, depth: int = 3) -> Iterator[Batch]:
    """Yield batches `first` to `last` - 1, up to `depth` of them prepared in advance; raises what `make` raises."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(depth)

    def fill() -> None:
        try:
            for step in range(first, last):
                ready.put(make(step))
        except BaseException as error:  # noqa: BLE001 - handed to the reader, who raises it
            ready.put(error)

    threading.Thread(target=fill, daemon=True).start()
    for _ in range(first, last):
        item = ready.get()
        if isinstance(item, BaseException):
            raise item
        yield item
