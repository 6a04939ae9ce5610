"""Training scenes on disk: rendered once, scaled so that the longer side fits the network, read by memory map."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bmodel.files import whole_file
from data.scenes import Series

SIDE_PX = 416
CHUNK = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredScene:
    """A scene at training size.

    bgr: (H, W, 3) uint8.
    boxes: (N, 5) float32 class, left, top, right, bottom in its pixels.
    """

    bgr: NDArray[np.uint8]
    boxes: NDArray[np.float32]


class SceneStore:
    """Scenes 0 to count - 1 of a series, in a folder; existing chunks are kept."""

    def __init__(self, folder: Path, series: Series, count: int) -> None:
        self._folder, self._series = folder, series
        self.count = count
        self._open: dict[int, tuple[NDArray[np.uint8], dict[str, NDArray[np.float32]]]] = {}

    def __len__(self) -> int:
        return self.count

    def prepare(self, processes: int) -> None:
        """Render the chunks that are missing."""
        self._folder.mkdir(parents=True, exist_ok=True)
        jobs = [
            (self._folder, self._series, first, min(CHUNK, self.count - first))
            for first in range(0, self.count, CHUNK)
            if not _truth_path(self._folder, first).exists()
        ]
        if jobs:
            with multiprocessing.get_context("spawn").Pool(processes) as pool:
                pool.starmap(_write_chunk, jobs, chunksize=1)

    def __getitem__(self, number: int) -> StoredScene:
        first = number - number % CHUNK
        if first not in self._open:
            truth = dict(np.load(_truth_path(self._folder, first)))
            pixels = np.load(_pixel_path(self._folder, first), mmap_mode="r")
            self._open[first] = (pixels, truth)
        pixels, truth = self._open[first]
        place = number - first
        offset = int(truth["offset"][place])
        height, width = (int(side) for side in truth["size_hw"][place])
        bgr = pixels[offset : offset + height * width * 3].reshape(height, width, 3)
        boxes = truth["boxes"][truth["owner"] == place]
        return StoredScene(bgr=bgr, boxes=boxes)


def _pixel_path(folder: Path, first: int) -> Path:
    return folder / f"pixels-{first:06}.npy"


def _truth_path(folder: Path, first: int) -> Path:
    return folder / f"truth-{first:06}.npz"


def _write_chunk(folder: Path, series: Series, first: int, count: int) -> None:
    cv2.setNumThreads(1)
    scenes = [_scaled_scene(series, number) for number in range(first, first + count)]
    lengths = [scene.bgr.size for scene in scenes]
    np.save(_pixel_path(folder, first), np.concatenate([scene.bgr.ravel() for scene in scenes]))
    # The truth is what `prepare` looks for: it appears last and whole.
    with whole_file(_truth_path(folder, first)) as file:
        np.savez(
            file,
            offset=np.cumsum([0, *lengths[:-1]]),
            size_hw=np.array([scene.bgr.shape[:2] for scene in scenes]),
            boxes=np.concatenate([scene.boxes for scene in scenes]),
            owner=np.repeat(np.arange(count), [len(scene.boxes) for scene in scenes]),
        )


def _scaled_scene(series: Series, number: int) -> StoredScene:
    """The scene as a detector reads it: through its JPEG, its longer side scaled to SIDE_PX."""
    scene = series.scene(number)
    bgr = cv2.imdecode(np.frombuffer(series.jpeg(number, scene), np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"OpenCV cannot read its own JPEG of scene {number}")
    scale = SIDE_PX / max(bgr.shape)
    size_wh = (round(bgr.shape[1] * scale), round(bgr.shape[0] * scale))
    resized = bgr if scale == 1 else cv2.resize(bgr, size_wh, interpolation=cv2.INTER_LINEAR)
    boxes = np.concatenate((scene.class_id[:, None], scene.xyxy * scale), 1).astype(np.float32)
    return StoredScene(bgr=resized.astype(np.uint8, copy=False), boxes=boxes)
