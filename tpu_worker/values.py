"""What travels with an image on its way through a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from tpu_worker.boxes import Detections

Stage = Literal["read", "preprocess", "inference", "postprocess"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
# Threads of a worker that read and letterbox, at most, unless an option says otherwise.
MOST_PREPARE_THREADS: Final = 4
PreparedOn = Literal["host", "card"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRef:
    """An input image.

    index: its place in the run's image list, from 0.
    image_id: its name in every output, the path relative to the image root with '/' between parts.
    path: where to read it, a file path or a URL of an object store.
    """

    index: int
    image_id: str
    path: str

    def __post_init__(self) -> None:
        if self.index < 0:
            raise ValueError(f"index must be non-negative, got {self.index}")
        if not self.image_id:
            raise ValueError("image_id must not be empty")


@dataclass(frozen=True, kw_only=True, slots=True)
class StageTimes:
    """Wall time an image spent in each stage, ms; a batch's inference time is shared evenly by its images."""

    read_ms: float = 0.0
    preprocess_ms: float = 0.0
    inference_ms: float = 0.0
    postprocess_ms: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFailure:
    """Why an image has no detections: the stage that failed and one sentence."""

    stage: Stage
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageResult:
    """An image's outcome: detections, or a failure.

    size_hw: height and width in source pixels; None when the image could not be read.
    started_s, finished_s: seconds on the worker's monotonic clock, which no step of its host's clock reaches.
    batch: which launch of its shard the image was part of, from 0.
    prepared_on: where it was decoded and letterboxed.
    """

    image: ImageRef
    size_hw: tuple[int, int] | None
    detections: Detections | None
    failure: ImageFailure | None
    times: StageTimes
    started_s: float
    finished_s: float
    batch: int = 0
    prepared_on: PreparedOn = "host"

    def __post_init__(self) -> None:
        if (self.detections is None) == (self.failure is None):
            raise ValueError("an image has either detections or a failure")
