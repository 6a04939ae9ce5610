"""A loaded network and its pipeline: images in, detections out, on one device, without Ray."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bmodel.errors import ConfigurationError
from tpu_worker import DEFAULT_MAX_PIXELS
from tpu_worker.boxes import Detections
from tpu_worker.devices.bmcv import CardPreprocessor
from tpu_worker.devices.protocol import Device
from tpu_worker.image_header import ImageError, read_header
from tpu_worker.keep_memory import keep_freed_memory
from tpu_worker.launch import Prepared
from tpu_worker.layouts.candidates import Candidates
from tpu_worker.layouts.plausible import check_plausible
from tpu_worker.layouts.registry import open_layout
from tpu_worker.letterbox import InputWriter, Letterbox
from tpu_worker.nms import best_first, suppress
from tpu_worker.option_values import (
    CONF_ABOVE,
    CONF_BELOW,
    DEFAULT_CONF,
    DEFAULT_DETECTIONS,
    DEFAULT_IOU,
    IOU_LEAST,
    IOU_MOST,
    MOST_DETECTIONS,
)
from tpu_worker.pipeline import Outputs, Pipeline
from tpu_worker.read_image import ReadOptions, local_path, read_bytes, read_image
from tpu_worker.values import MOST_PREPARE_THREADS, ImageFailure, ImageRef, ImageResult


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectOptions:
    """How images become detections; wrong values raise ConfigurationError.

    conf: a box needs objectness times class probability above it.
    iou: within a class, a better box suppresses one that it overlaps by more.
    max_detections: boxes to keep per image, the best ones.
    single_label: only a box's best class makes a detection, instead of every class above `conf`.
    max_candidates: boxes that enter suppression, the best ones.
    prepare_threads: threads that read and letterbox; None: one per core, at most 4.
    max_pixels, ignore_exif: see docs/preprocessing.md.
    reduced_jpeg: decode large JPEGs at 1/2, 1/4 or 1/8 scale where that still covers the network's input.
    """

    conf: float = DEFAULT_CONF
    iou: float = DEFAULT_IOU
    max_detections: int = DEFAULT_DETECTIONS
    single_label: bool = False
    max_candidates: int = MOST_DETECTIONS
    prepare_threads: int | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    ignore_exif: bool = False
    reduced_jpeg: bool = False

    def __post_init__(self) -> None:
        if not CONF_ABOVE < self.conf < CONF_BELOW:
            raise ConfigurationError(
                f"conf must be above {CONF_ABOVE:g} and below {CONF_BELOW:g}, got {self.conf}"
            )
        if not IOU_LEAST <= self.iou <= IOU_MOST:
            raise ConfigurationError(f"iou must be from {IOU_LEAST:g} to {IOU_MOST:g}, got {self.iou}")
        if self.max_detections > MOST_DETECTIONS:
            raise ConfigurationError(
                f"max_detections must be at most {MOST_DETECTIONS}, got {self.max_detections}"
            )
        for name in ("max_detections", "max_candidates", "prepare_threads", "max_pixels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {value}")


class Detector:
    """Detects on one device; `detect` may be called by several threads, whose images then share the pipeline.

    Takes the device over: it runs in the detector's own thread and is closed with it.
    """

    def __init__(self, device: Device, options: DetectOptions, card: CardPreprocessor | None = None) -> None:
        """Prepare images with `card` if it is given and accepts them, otherwise with OpenCV."""
        # The pipeline's threads are the parallelism; OpenCV's own would only get in their way.
        cv2.setNumThreads(1)
        keep_freed_memory()
        self._device = device
        self._pipeline = Pipeline(
            _Stages(device, options, card),
            input_shape=(device.spec.batch, 3, *device.spec.input_hw),
            prepare_threads=options.prepare_threads or default_prepare_threads(),
        )

    def detect(self, images: Sequence[ImageRef]) -> list[ImageResult]:
        """One result per image, in the order given.

        An image that cannot be read becomes a result with a failure. Raises DeviceError, for all the images
        together, when the device fails, and OutputError when its outputs cannot be what the spec says.
        """
        return self._pipeline.run(images)

    def close(self) -> None:
        """Finish pending images and release the device; safe to call again."""
        self._pipeline.close()
        self._device.close()

    def __enter__(self) -> Detector:  # noqa: PYI034 - Self is not in Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def default_prepare_threads() -> int:
    """One per core that this process may use, at most 4."""
    return min(MOST_PREPARE_THREADS, len(os.sched_getaffinity(0)))


# Images whose outputs are looked at before anything of them counts; it costs some ms per image.
_CHECKED_IMAGES: Final = 8


class _Stages:
    """Preparing, inference and postprocessing as the pipeline calls them."""

    def __init__(self, device: Device, options: DetectOptions, card: CardPreprocessor | None) -> None:
        self._device = device
        self._card = card
        self._spec = device.spec
        self._options = options
        self._layout = open_layout(self._spec, conf=options.conf, single_label=options.single_label)
        # A stretched image has a scale per axis, and a JPEG is reduced by the greater of the two.
        is_stretched = self._spec.normalisation.placement == "stretch"
        self._read_options = ReadOptions(
            max_pixels=options.max_pixels,
            ignore_exif=options.ignore_exif,
            reduce_to_hw=self._spec.input_hw if options.reduced_jpeg and not is_stretched else None,
        )
        self._of_thread = threading.local()
        self._left_to_check = _CHECKED_IMAGES

    def prepare(
        self, image: ImageRef, target: NDArray[np.float32], previous: Letterbox | None
    ) -> Prepared | ImageFailure:
        """Read and letterbox one image; its two times add up to all that it took, a refusal of the card included."""
        started = time.perf_counter()
        if self._card is not None:
            if (prepared := self._prepare_on_card(self._card, image, target, started)) is not None:
                return prepared
            # The card's border may differ from ours in the last bit: nothing of it is kept.
            previous = None
        try:
            source = read_image(image.path, self._read_options)
        except ImageError as error:
            return ImageFailure(stage="read", reason=str(error))
        except MemoryError:
            return ImageFailure(stage="read", reason="there is not enough memory to decode the image")
        read = time.perf_counter()
        letterbox = Letterbox.fit(source.size_hw, self._spec.input_hw, self._spec.normalisation.placement)
        self._writer().write(source.bgr, letterbox, target, previous)
        written = time.perf_counter()
        return Prepared(
            letterbox=letterbox, read_ms=(read - started) * 1e3, preprocess_ms=(written - read) * 1e3
        )

    def _prepare_on_card(
        self, card: CardPreprocessor, image: ImageRef, target: NDArray[np.float32], started: float
    ) -> Prepared | None:
        """Let the card prepare an upright JPEG of the local disk; None for what the host has to do.

        Whether SAIL turns an image as EXIF says is up to its version: such an image is the host's, whatever is wished.
        """
        path = local_path(image.path)
        if path is None:
            return None
        try:
            header = read_header(read_bytes(image.path))
        except ImageError:
            return None  # the host tells why
        too_large = header.size_hw[0] * header.size_hw[1] > self._options.max_pixels
        if header.kind != "JPEG" or header.orientation != 1 or too_large:
            return None
        return card.write(path, header.size_hw, target, started=started)

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Run the device."""
        return self._device.run(batch)

    def postprocess(self, outputs: Outputs, position: int, letterbox: Letterbox) -> Detections:
        """Raw outputs of one image to boxes in its pixels."""
        if self._left_to_check:
            self._left_to_check -= 1
            check_plausible(outputs, position, self._spec, self._options.conf)
        found = self._layout.decode(outputs, position)
        kept = self._kept(found)
        xyxy = letterbox.to_source(found.xyxy[kept])
        # What lies on the grey border alone has no area left in the image.
        visible = (xyxy[:, 0] < xyxy[:, 2]) & (xyxy[:, 1] < xyxy[:, 3])
        return Detections(
            xyxy=xyxy[visible],
            confidence=found.confidence[kept][visible],
            class_id=found.class_id[kept][visible],
        )

    def _kept(self, found: Candidates) -> NDArray[np.intp]:
        """Positions of the candidates that become detections, best first."""
        options = self._options
        order = best_first(found.confidence, options.max_candidates)
        if self._layout.is_suppressed:
            return order[: options.max_detections]
        kept = suppress(
            found.xyxy[order], found.class_id[order], iou=options.iou, max_detections=options.max_detections
        )
        return order[kept]

    def _writer(self) -> InputWriter:
        """A writer holds scratch memory, so each thread has its own."""
        writer: InputWriter | None = getattr(self._of_thread, "writer", None)
        if writer is None:
            writer = InputWriter(self._spec.normalisation, self._spec.input_hw)
            self._of_thread.writer = writer
        return writer
