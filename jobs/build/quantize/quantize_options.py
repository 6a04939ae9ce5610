"""What `raysail quantize` is asked, and which images serve for what."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from bmodel.anchors import Anchors
from bmodel.compiler.build import Build, read_build
from bmodel.compiler.compile import CompileRequest, compile_network, describe_calibration
from bmodel.compiler.compiler_tools import CalibrationMethod
from bmodel.errors import ConfigurationError, ModelFileError, ToolError
from bmodel.files import write_whole
from bmodel.validation import ExactModel
from jobs.build.compile.source_network import choose_images
from jobs.config.choices import MOST_BATCH
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
    batch: images per launch of the compiled networks; INT8 stores four side by side, and one alone wastes the room.
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
            ("--batch", self.batch, 1, MOST_BATCH),
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


Report = Callable[[str], None]
Value = TypeVar("Value", bound=ExactModel)


class BudgetSpentError(ToolError):
    """The time that was granted is used up; what is done is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """Counts the time of all runs of an analysis.

    before_s: of earlier runs. started_s: this run's, on the monotonic clock.
    """

    path: Path
    limit_s: float
    before_s: float
    started_s: float

    @classmethod
    def start(cls, path: Path, limit_s: float) -> Clock:
        """Go on counting from what earlier runs wrote."""
        try:
            before_s = float(json.loads(path.read_bytes())["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            before_s = 0.0
        return cls(path=path, limit_s=limit_s, before_s=before_s, started_s=time.monotonic())

    @property
    def spent_s(self) -> float:
        """Seconds of work so far."""
        return self.before_s + time.monotonic() - self.started_s

    def save(self) -> None:
        """Keep the count for the next run."""
        write_whole(self.path, json.dumps({"seconds": round(self.spent_s, 1)}) + "\n")

    def check(self) -> None:
        """Save the count; raises BudgetSpentError when no time is left."""
        self.save()
        if self.spent_s > self.limit_s:
            raise BudgetSpentError(
                f"the {self.limit_s / 60:g} minutes are used up; all that is done is kept: run the same command with "
                "more --minutes to go on"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """An analysis' folder."""

    folder: Path
    clock: Clock
    report: Report

    @classmethod
    def open(cls, folder: Path, fingerprint: dict[str, str], *, minutes: float, report: Report) -> Bench:
        """Open a folder for one analysis; raises ConfigurationError when it holds another."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "study.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            different = sorted(name for name in fingerprint if found.get(name) != fingerprint[name])
            if different:
                raise ConfigurationError(
                    f"--output: '{folder}' holds an analysis of another {', '.join(different)}; name another folder"
                )
        write_whole(path, json.dumps(fingerprint, indent=1, sort_keys=True) + "\n")
        return cls(folder=folder, clock=Clock.start(folder / "spent.json", minutes * 60), report=report)

    def build(self, request: CompileRequest) -> Build:
        """Compile, unless the very same was compiled before."""
        folder = self.folder / "builds"
        try:
            build = read_build(folder / request.name)
            if _is_of(build, request):
                return build
        except ModelFileError:
            pass
        self.clock.check()
        return compile_network(request, folder=folder, report=self.report)

    def kept(self, name: str, kind: type[Value], make: Callable[[], Value]) -> Value:
        """Read a result, or make it and keep it."""
        path = self.folder / name
        try:
            return kind.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            pass
        self.clock.check()
        value = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, value.model_dump_json(indent=1) + "\n")
        return value


def _is_of(build: Build, request: CompileRequest) -> bool:
    record = build.record
    return (
        record.input_shape == request.input_shape
        and record.precision == request.precision
        and record.normalisation == request.normalisation
        and record.fp32_layers == request.fp32_layers
        and record.calibration == describe_calibration(request.calibration)
    )
