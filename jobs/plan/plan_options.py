"""PlanOptions: what `raysail plan` is asked, checked; a wrong value is one line that names option, rule and value."""

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
from jobs.study.run_sweep import read_predictions

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
        ge=1, description="how many images, as 250000 or 1e8"
    )
    image_size: Annotated[tuple[int, int] | None, BeforeValidator(_size_hw)] = Field(
        default=None,
        description="their size, HEIGHTxWIDTH in pixels [of the images the host was measured on]",
    )
    image_kb: float | None = Field(default=None, gt=0, description="a file's size in kB [by its pixels]")
    model: str | None = Field(
        default=None,
        description="a BModel or its sidecar, with a predicted latency; or a network of --predictions",
    )
    i_time: float | None = Field(
        default=None, gt=0, description="the card's time, ms per image, instead of --model"
    )
    size: int = Field(default=640, ge=32, le=8192, description="side of the network's input, without a file")
    precision: Precision = Field(default="fp32", description="of the network, without a file")
    batch: int = Field(default=1, ge=1, le=MOST_BATCH, description="images per launch, without a file")
    predictions: Path = Field(
        default=PREDICTIONS,
        description="table of predicted latency, of jobs.build.latency_table.make_latency_table",
    )
    hosts: int = Field(default=1, ge=1, le=100_000, description="hosts there are")
    cards_per_host: int = Field(default=1, ge=1, le=64, description="cards in each of them")
    cores_per_host: float = Field(default=8, ge=1, le=1024, description="cores that each has for this work")
    network_mb_s: float | None = Field(
        default=None, gt=0, description="network of each host, MB/s [no limit]"
    )
    storage_mb_s: float | None = Field(
        default=None, gt=0, description="storage that all hosts read from, MB/s [no limit]"
    )
    deadline_hours: float | None = Field(default=None, gt=0, description="say how many hosts that takes")
    shard_size: int | None = Field(
        default=None, ge=1, le=MOST_SHARD_SIZE, description="images per shard [as detect takes it]"
    )
    runs: int | None = Field(
        default=None, ge=1, description="split the images into runs [by the driver's memory]"
    )
    driver_memory_gb: float = Field(default=16, gt=0.5, description="memory that the driver may take")
    host_costs: Path | None = Field(
        default=None,
        description="a run, its metrics.json, or a table of --save-costs [a table that is shipped]",
    )
    measure: str | None = Field(
        default=None, description="measure this host's work on these images (a minute)"
    )
    save_costs: Path | None = Field(default=None, description="write the host's costs, for --host-costs")

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> PlanOptions:
        if (self.model is None) == (self.i_time is None):
            raise ValueError("model: is required, or else --i-time, and not both")
        if self.measure is not None and self.host_costs is not None:
            raise ValueError(
                "measure: cannot stand with --host-costs, for both say what the host's work costs"
            )
        if self.runs is not None and self.runs > self.images:
            raise ValueError(f"runs: must be at most the number of images, got {self.runs}")
        return self


def parse_options(given: Mapping[str, Any]) -> PlanOptions:
    """Make PlanOptions of options given by name; raises ConfigurationError."""
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
        told = ", ".join(known) if known else f"nothing, since '{table}' is not there"
        raise ConfigurationError(
            f"--model: '{name} {size} {precision} {batch}b' is no file and not in the table, which has {told}"
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
