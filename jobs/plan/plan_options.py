"""PlanOptions: what `raysail plan` is asked, checked; a wrong value is one line that names option, rule and value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bmodel.errors import ConfigurationError
from jobs.config.choices import MOST_BATCH, MOST_SHARD_SIZE, Precision
from jobs.config.detect_config import describe_validation_error
from jobs.config.yaml_file import option_name
from jobs.plan.network import PREDICTIONS

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


class PlanOptions(BaseModel):
    """The options of `raysail plan`; fields keep the order of the help text."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=option_name, populate_by_name=True, allow_inf_nan=False
    )

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
        default=None, gt=0, description="the card's time, ms an image, instead of --model"
    )
    size: int = Field(default=640, ge=32, le=8192, description="side of the network's input, without a file")
    precision: Precision = Field(default="fp32", description="of the network, without a file")
    batch: int = Field(default=1, ge=1, le=MOST_BATCH, description="images a launch, without a file")
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
        default=None, ge=1, le=MOST_SHARD_SIZE, description="images a shard [as detect takes it]"
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
