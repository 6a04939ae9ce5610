"""Detects on the chip simulator, or on the CPU, in a process of its own, and brings the raw outputs along.

A process has one simulated card, and the vendor's library may take it down: whoever compares several networks needs
a process for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import ConfigurationError, ToolError
from bmodel.files import whole_file
from bmodel.sidecar import ModelSpec
from data.columns import GroundTruth, Scored
from jobs.build.compile.verify import cosine_similarity
from jobs.build.quantize.choice import HeadError
from jobs.measure.mean_ap import evaluate
from jobs.measure.mean_ap_values import MeanAp
from tpu_worker.boxes import Detections
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices import Device, DeviceOptions, open_device
from tpu_worker.devices.protocol import Batch
from tpu_worker.values import ImageRef, ImageResult

Outputs = list[NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What a network makes of one image: boxes in its pixels, and the raw heads (A, H, W, 5+C) each."""

    detections: Detections
    heads: Outputs


class RecordingDevice:
    """A device that keeps what it answered."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.answers: list[Outputs] = []

    @property
    def spec(self) -> ModelSpec:
        """The network that is loaded."""
        return self._device.spec

    def run(self, batch: Batch) -> Outputs:
        """Run a batch and keep the answer."""
        outputs = self._device.run(batch)
        self.answers.append([output.copy() for output in outputs])
        return outputs

    def close(self) -> None:
        """Give the device back."""
        self._device.close()


class ImageSimulator:
    """A network at work in another process, in launches of its batch; closed when the block ends."""

    def __init__(self, options: DeviceOptions) -> None:
        self._options = options
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def __enter__(self) -> ImageSimulator:  # noqa: PYI034 - Self is not in Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(BrokenProcessPool):
            self._pool.submit(_close).result()
        self._pool.shutdown()

    def observe(self, images: Sequence[ImageRef]) -> list[Observed]:
        """Detect on some images; raises ToolError when an image or the device fails."""
        try:
            return self._pool.submit(_observe, self._options, list(images)).result()
        except BrokenProcessPool as error:
            raise ToolError(
                f"the process of '{self._options.name}' with {self._options.place} died"
            ) from error


_detector: tuple[RecordingDevice, Detector] | None = None


def _observe(options: DeviceOptions, images: list[ImageRef]) -> list[Observed]:
    device, detector = _opened(options)
    observed = []
    for start in range(0, len(images), device.spec.batch):
        device.answers.clear()
        results = detector.detect(images[start : start + device.spec.batch])
        found = [_detections(result) for result in results]
        (answer,) = device.answers
        observed += [
            Observed(detections=detections, heads=[head[position] for head in answer])
            for position, detections in enumerate(found)
        ]
    return observed


def _detections(result: ImageResult) -> Detections:
    if result.detections is None:
        reason = result.failure.reason if result.failure else "no result"
        raise ToolError(f"'{result.image.path}': {reason}")
    return result.detections


def _opened(options: DeviceOptions) -> tuple[RecordingDevice, Detector]:
    global _detector  # noqa: PLW0603 - the process exists for this one device
    if _detector is None:
        device = RecordingDevice(open_device(options))
        _detector = device, Detector(device, DetectOptions(prepare_threads=1))
    return _detector


def _close() -> None:
    if _detector is not None:
        _detector[1].close()


SURE: Final = 0.25  # FP32's detections from this confidence on stand for the truth of tuning images
CHUNK: Final = 4  # images between two looks at the clock, or a launch, if that is more

Hurry = Callable[[], None]


def observe(options: DeviceOptions, images: Sequence[ImageRef], check_time: Hurry) -> list[Observed]:
    """Run a network on images, in a process of its own; `check_time` may raise between them."""
    observed: list[Observed] = []
    with ImageSimulator(options) as simulator:
        for chunk in _chunks(images, options.spec.batch).values():
            check_time()
            observed += simulator.observe(chunk)
    return observed


def head_errors(
    spec: ModelSpec, found: Sequence[Observed], reference: Sequence[Observed]
) -> tuple[HeadError, ...]:
    """Compare raw heads with the reference's, which come in the same order."""
    errors = []
    for head in sorted(spec.heads, key=lambda head: head.stride):
        ours, theirs = (
            np.concatenate([image.heads[head.output].ravel() for image in images]).astype(np.float64)
            for images in (found, reference)
        )
        errors.append(
            HeadError(
                stride=head.stride,
                cosine=cosine_similarity(ours, theirs),
                relative_error=float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)),
            )
        )
    return tuple(errors)


def agreement(
    found: Sequence[Observed], reference: Sequence[Observed], class_names: tuple[str, ...]
) -> float:
    """AP50 of detections, with the reference's confident ones as the truth; raises ConfigurationError when it has none."""
    truth = _sure_boxes([image.detections for image in reference], class_names)
    ap50 = evaluate(truth, scored([image.detections for image in found])).coco.ap50
    if ap50 is None:
        raise ConfigurationError("--calibration: the network sees nothing on the images that are to tune by")
    return ap50


def scored(detections: Sequence[Detections]) -> Scored:
    """Put the detections of all images into columns."""
    counts = [len(image) for image in detections]
    return Scored(
        image=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        class_id=np.concatenate([np.zeros(0, np.int32), *(image.class_id for image in detections)]),
        confidence=np.concatenate([np.zeros(0, np.float32), *(image.confidence for image in detections)]),
        xyxy=np.concatenate([np.zeros((0, 4), np.float32), *(image.xyxy for image in detections)]),
    )


def score_detections(truth: GroundTruth, detections: Sequence[Detections]) -> MeanAp:
    """MAP of the detections of the truth's images, which are in its order."""
    return evaluate(truth, scored(detections))


def simulate_scored(
    options: DeviceOptions, images: Sequence[ImageRef], folder: Path, check_time: Hurry
) -> tuple[list[Detections], float]:
    """Detect on the scored images; each chunk is kept in `folder`, and taken from there when it is done already.

    Returns the detections and the seconds that simulating took now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    chunks = {
        folder / f"{start:05}.npz": chunk for start, chunk in _chunks(images, options.spec.batch).items()
    }
    missing = {path: chunk for path, chunk in chunks.items() if not path.is_file()}
    if missing:
        with ImageSimulator(options) as simulator:
            for path, chunk in missing.items():
                check_time()
                _write(path, [image.detections for image in simulator.observe(chunk)])
    detections = [image for path in chunks for image in _read(path)]
    return detections, time.monotonic() - started


def _chunks(images: Sequence[ImageRef], batch: int) -> dict[int, Sequence[ImageRef]]:
    """Part images into whole launches; returns them by the number of their first image."""
    size = batch * -(-CHUNK // batch)
    return {start: images[start : start + size] for start in range(0, len(images), size)}


def _sure_boxes(detections: Sequence[Detections], class_names: tuple[str, ...]) -> GroundTruth:
    columns = scored(detections)
    sure = columns.confidence >= SURE
    xyxy = columns.xyxy[sure].astype(np.float64)
    return GroundTruth(
        class_names=class_names,
        image_ids=tuple(str(number) for number in range(len(detections))),
        box_image=columns.image[sure],
        class_id=columns.class_id[sure],
        xyxy=xyxy,
        crowd=np.zeros(len(xyxy), np.bool_),
        area=(xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]),
    )


def _write(path: Path, detections: list[Detections]) -> None:
    columns: dict[str, NDArray[np.generic]] = {}
    for number, image in enumerate(detections):
        columns[f"{number}.xyxy"] = image.xyxy
        columns[f"{number}.confidence"] = image.confidence
        columns[f"{number}.class_id"] = image.class_id
    with whole_file(path) as file:
        np.savez_compressed(file, **columns)  # type: ignore[arg-type]


def _read(path: Path) -> list[Detections]:
    with np.load(path) as columns:
        return [
            Detections(
                xyxy=columns[f"{number}.xyxy"],
                confidence=columns[f"{number}.confidence"],
                class_id=columns[f"{number}.class_id"],
            )
            for number in range(len(columns.files) // 3)
        ]
