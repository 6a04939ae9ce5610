"""PlanOptions: the options of `raysail plan`, checked; a wrong value is one line that names option, rule and value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from bmodel.errors import ConfigurationError
from bmodel.model_file import load_spec
from bmodel.sidecar import MODEL_SUFFIXES, SIDECAR_SUFFIX, ModelSpec, read_sidecar, sidecar_path
from jobs.config.choices import MOST_BATCH, MOST_SHARD_SIZE, Precision
from jobs.config.detect_config import describe_validation_error
from jobs.config.paths import why_not_a_file
from jobs.config.yaml_file import OptionsModel
from jobs.plan.values import CardTime
from jobs.study.predictions import read_predictions

PREDICTIONS: Final = Path("docs/results/latency.json")
_COUNT: Final = re.compile(r"\d+(\.\d+)?([eE]\+?\d{1,2})?")
_SIZE: Final = re.compile(r"(\d{1,5})x(\d{1,5})")


def _count(value: Any) -> Any:
    """Whole numbers may be written as 1e8."""
    text = str(value).replace("_", "")
    if not _COUNT.fullmatch(text) or not float(text).is_integer():
        raise ValueError(f"must be a whole number like 250000 or 1e8, got {value!r}")
    return int(float(text))


def _size_hw(value: Any) -> Any:
    found = _SIZE.fullmatch(str(value))
    if not found or "0" in found.groups():
        raise ValueError(f"must be HEIGHTxWIDTH in pixels like 1080x1920, got {value!r}")
    return int(found[1]), int(found[2])


class PlanOptions(OptionsModel):
    """The options of `raysail plan`; fields keep the order of the help text."""

    images: Annotated[int, BeforeValidator(_count)] = Field(
        ge=1, description="number of images, like 250000 or 1e8"
    )
    image_size: Annotated[tuple[int, int] | None, BeforeValidator(_size_hw)] = Field(
        default=None,
        description="size of the images, HEIGHTxWIDTH in pixels [as measured]",
    )
    image_kb: float | None = Field(
        default=None, gt=0, description="size of an image file, kB [estimated from its pixels]"
    )
    model: str | None = Field(
        default=None,
        description="a BModel or sidecar with a predicted latency, or a network from --predictions",
    )
    i_time: float | None = Field(
        default=None, gt=0, description="the card's time per image, ms, instead of --model"
    )
    size: int = Field(
        default=640, ge=32, le=8192, description="side of the network's input, if --model is not a file"
    )
    precision: Precision = Field(
        default="fp32", description="precision of the network, if --model is not a file"
    )
    batch: int = Field(
        default=1, ge=1, le=MOST_BATCH, description="images per launch, if --model is not a file"
    )
    predictions: Path = Field(
        default=PREDICTIONS,
        description="table of predicted latencies",
    )
    hosts: int = Field(default=1, ge=1, le=100_000, description="number of hosts")
    cards_per_host: int = Field(default=1, ge=1, le=64, description="cards per host")
    cores_per_host: float = Field(default=8, ge=1, le=1024, description="cores per host for this work")
    network_mb_s: float | None = Field(
        default=None, gt=0, description="network bandwidth per host, MB/s [no limit]"
    )
    storage_mb_s: float | None = Field(
        default=None, gt=0, description="bandwidth of the shared storage, MB/s [no limit]"
    )
    deadline_hours: float | None = Field(
        default=None, gt=0, description="report how many hosts this deadline takes"
    )
    shard_size: int | None = Field(
        default=None, ge=1, le=MOST_SHARD_SIZE, description="images per shard [as detect chooses]"
    )
    runs: int | None = Field(
        default=None, ge=1, description="number of runs to split the images into [by the driver's memory]"
    )
    driver_memory_gb: float = Field(default=16, gt=0.5, description="memory that the driver may use")
    host_costs: Path | None = Field(
        default=None,
        description="a run, its metrics.json, or a file from --save-costs [a built-in table]",
    )
    measure: str | None = Field(
        default=None, description="measure this host on these images (takes a minute)"
    )
    save_costs: Path | None = Field(
        default=None, description="write the host's costs to this file, for --host-costs"
    )

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> PlanOptions:
        if (self.model is None) == (self.i_time is None):
            raise ValueError("model: exactly one of --model and --i-time is required")
        if self.measure is not None and self.host_costs is not None:
            raise ValueError(
                "measure: cannot be combined with --host-costs, since both give the host's costs"
            )
        if self.runs is not None and self.runs > self.images:
            raise ValueError(f"runs: must be at most the number of images, got {self.runs}")
        return self


def parse_options(given: Mapping[str, Any]) -> PlanOptions:
    """Make PlanOptions from options given by name; raises ConfigurationError."""
    try:
        return PlanOptions.model_validate(dict(given))
    except ValidationError as error:
        raise ConfigurationError(describe_validation_error(error)) from None


def card_time_of_file(path: Path) -> tuple[CardTime, ModelSpec]:
    """The prediction in a BModel's sidecar; name either. Raises ConfigurationError without one."""
    spec = spec_of_file(path)
    if spec.latency is None:
        raise ConfigurationError(
            f"--model: has no predicted latency, so give the card's time by --i-time, in '{path}'"
        )
    return (
        CardTime(
            image_ms=spec.latency.corrected_ms / spec.batch,
            uncertainty_ms=spec.latency.uncertainty_ms / spec.batch,
            batch=spec.batch,
            network=spec.name,
            input_hw=spec.input_hw,
            precision=spec.precision,
            source="predicted by the compiler's schedule",
        ),
        spec,
    )


def spec_of_file(path: Path) -> ModelSpec:
    """A network's description, from its file with its sidecar, or from the sidecar alone."""
    if reason := why_not_a_file(path):
        raise ConfigurationError(
            f"--model: must be a model file, its sidecar or a name of the table, and '{path}' {reason}"
        )
    if path.name.endswith(SIDECAR_SUFFIX):
        return read_sidecar(path)
    if path.suffix.lower() not in MODEL_SUFFIXES:
        raise ConfigurationError(f"--model: must end in .bmodel, .onnx or {SIDECAR_SUFFIX}, got '{path}'")
    # A plan goes by shapes, so anchors that nobody named may be any.
    return load_spec(path, anchors=None if sidecar_path(path).is_file() else "yolov7")


def card_time_of_table(
    name: str, *, size: int, precision: Precision, batch: int, table: Path = PREDICTIONS
) -> CardTime:
    """The prediction for a network of the family; raises ConfigurationError with what the table has."""
    predictions = read_predictions(table).table
    found = predictions.get((name, (size, size), precision, batch))
    if found is None:
        known = sorted({f"{model} {hw[0]} {kind} {number}b" for model, hw, kind, number in predictions})
        content = ", ".join(known) if known else f"nothing, since '{table}' is not there"
        raise ConfigurationError(
            f"--model: '{name} {size} {precision} {batch}b' is no file and not in the table, which has {content}"
        )
    return CardTime(
        image_ms=found.ms,
        uncertainty_ms=found.uncertainty_ms,
        batch=batch,
        network=name,
        input_hw=(size, size),
        precision=precision,
        source="predicted by the compiler's schedule",
    )
