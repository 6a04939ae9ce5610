"""What `raysail quantize` is asked, and which images serve for what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bmodel.anchors import Anchors
from bmodel.compiler.compiler_tools import CalibrationMethod
from bmodel.errors import ConfigurationError
from jobs.build.compile.calibration_images import choose_images
from jobs.inputs.images import list_images
from tpu_worker.values import ImageRef

METHODS: Final[tuple[CalibrationMethod, ...]] = (
    "kl",
    "mse",
    "max",
    "percentile9999",
    "aciq_gauss",
    "aciq_laplace",
)
TUNING_LIMIT: Final = 32
FINALIST_LIMIT: Final = 6
LEAST_IMAGES: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeOptions:
    """What to analyse.

    calibration: images without truth; some find INT8's ranges, `tuning_count` others choose the finalists, and
        the first `search_count` of the former rank the layers.
    images, ground_truth: what the finalists are scored on.
    batch: images a launch of the compiled networks; INT8 stores four side by side, and one alone wastes the room.
    tolerance: how much AP50 a mixed network may lose against FP32.
    output: the work, which a second run resumes. report: the results, as `<report>.json` and `<report>.md`.
    minutes: of work, those of earlier runs with the same output counted in.
    """

    calibration: Path
    images: Path
    ground_truth: Path
    output: Path
    report: Path
    batch: int = 1
    calibration_count: int = 100
    tuning_count: int = 16
    search_count: int = 16
    methods: tuple[CalibrationMethod, ...] = METHODS
    finalists: int = FINALIST_LIMIT
    tolerance: float = 0.005
    minutes: float = 60.0
    anchors: str | Anchors | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for option, value, least, most in (
            ("--batch", self.batch, 1, 256),
            ("--calibration-count", self.calibration_count, 1, 10_000),
            ("--tuning-count", self.tuning_count, 1, TUNING_LIMIT),
            ("--search-count", self.search_count, 1, TUNING_LIMIT),
            ("--finalists", self.finalists, 3, FINALIST_LIMIT),
            ("--minutes", self.minutes, 1, 10_000),
            ("--tolerance", self.tolerance, 0, 1),
        ):
            if not least <= value <= most:
                raise ConfigurationError(f"{option}: must be from {least} to {most}, got {value}")
        if not self.methods:
            raise ConfigurationError("--methods: at least one is needed")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSplit:
    """Three sets of images that have none in common."""

    calibration: tuple[Path, ...]
    tuning: tuple[ImageRef, ...]
    scored: tuple[ImageRef, ...]


def split_images(options: QuantizeOptions) -> ImageSplit:
    """Choose the images: finalists must be chosen on others than they are scored on.

    Raises ConfigurationError when the sets overlap or the calibration's folder is too small.
    """
    wanted = options.calibration_count + options.tuning_count
    chosen = choose_images(options.calibration, wanted, option="--calibration")
    if len(chosen) < LEAST_IMAGES:
        raise ConfigurationError(
            f"--calibration: at least {LEAST_IMAGES} images are needed, got {len(chosen)} in '{options.calibration}'"
        )
    tuning_count = min(options.tuning_count, len(chosen) // 2)
    places = {number * len(chosen) // tuning_count for number in range(tuning_count)}
    tuning = [path for place, path in enumerate(chosen) if place in places]
    calibration = tuple(path for place, path in enumerate(chosen) if place not in places)
    listed = list_images(str(options.images))
    scored = tuple(listed.refs(0, len(listed)))
    known = {path.resolve() for path in chosen}
    shared = next((image.path for image in scored if Path(image.path).resolve() in known), None)
    if shared is not None:
        raise ConfigurationError(
            f"--calibration: '{shared}' is one of the scored images too; they must be others"
        )
    return ImageSplit(
        calibration=calibration[: options.calibration_count],
        tuning=tuple(
            ImageRef(index=number, image_id=path.name, path=str(path)) for number, path in enumerate(tuning)
        ),
        scored=scored,
    )
