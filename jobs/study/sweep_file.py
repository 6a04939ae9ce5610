"""The file of `raysail sweep`: models, sizes, preprocessing, precisions and batches, and what was published of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from pydantic import Field, field_validator, model_validator

from jobs.config.choices import MODEL_SUFFIXES, Precision, PreprocessName
from jobs.config.yaml_file import OptionsModel

PLACEHOLDERS: Final = ("model", "height", "width", "size", "precision", "batch")


def parse_size(value: object) -> object:
    """`640` → (640, 640), `384x640` → (384, 640), heights first; anything else as it is, for pydantic to refuse."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    if isinstance(value, str) and (sides := re.fullmatch(r"(\d+)x(\d+)", value)):
        return tuple(int(side) for side in sides.groups())
    raise ValueError(f"must be SIDE or HEIGHTxWIDTH, got {value!r}")


def size_label(size_hw: tuple[int, int]) -> str:
    """`640`, or `384x640` where the sides differ."""
    height, width = size_hw
    return f"{height}" if height == width else f"{height}x{width}"


class NetworkSizes(OptionsModel):
    """A network's input sizes, heights before widths. stride: what a side is rounded up to a multiple of."""

    sizes: tuple[tuple[int, int], ...] = Field(min_length=1)
    stride: int = Field(default=32, gt=0)

    @field_validator("sizes", mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        return [parse_size(size) for size in value] if isinstance(value, list) else value

    def input_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """The input that a size really has."""
        height, width = (-(-side // self.stride) * self.stride for side in size_hw)
        return height, width


class PublishedPoint(OptionsModel):
    """What was published of one point; map50 is a fraction, a null was not published or cannot be read."""

    model: str
    size: tuple[int, int]
    precision: Precision = "fp32"
    batch: int = 1
    preprocess: PreprocessName = "opencv"
    map50: float | None = Field(default=None, ge=0, le=1)
    i_time_ms: float | None = Field(default=None, gt=0)
    score: float | None = None
    note: str = ""

    @field_validator("size", mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        return parse_size(value)


class Sweep(OptionsModel):
    """The whole file. network-file: where a point's BModel lies, with `{model}`, `{size}` and so on for its parts.

    make: how to come by such a file. options: of `raysail detect`, for every point. predictions: a JSON file of
    `python -m jobs.build.latency_table.make_latency_table`, for networks whose BModel is not there.
    """

    title: str
    output: Path
    images: str
    ground_truth: Path | None = None
    network_file: str
    make: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    models: dict[str, NetworkSizes] = Field(min_length=1)
    preprocess: tuple[PreprocessName, ...] = Field(default=("opencv",), min_length=1)
    precision: tuple[Precision, ...] = Field(default=("fp32",), min_length=1)
    batch: tuple[int, ...] = Field(default=(1,), min_length=1)
    predictions: Path | None = None
    published: tuple[PublishedPoint, ...] = ()

    @field_validator("network_file")
    @classmethod
    def _knows_its_parts(cls, value: str) -> str:
        unknown = sorted(set(re.findall(r"\{(.*?)\}", value)) - set(PLACEHOLDERS))
        if unknown:
            raise ValueError(f"may name {', '.join(PLACEHOLDERS)} in braces, got '{unknown[0]}' in '{value}'")
        if Path(value).suffix not in MODEL_SUFFIXES:
            raise ValueError(f"must end in .bmodel or .onnx, got '{value}'")
        return value

    @field_validator("models")
    @classmethod
    def _names_are_names_of_folders(cls, value: dict[str, NetworkSizes]) -> dict[str, NetworkSizes]:
        for name in value:
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise ValueError(f"names must be of letters, digits, '.', '_' and '-', got '{name}'")
        return value

    @field_validator("batch")
    @classmethod
    def _batches_are_positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError(f"must be positive, got {min(value)}")
        return value

    @model_validator(mode="after")
    def _published_points_exist(self) -> Sweep:
        for one in self.published:
            known = (
                one.model in self.models
                and one.size in self.models[one.model].sizes
                and one.precision in self.precision
                and one.batch in self.batch
                and one.preprocess in self.preprocess
            )
            if not known:
                raise ValueError(
                    f"published: must be of points of this sweep, got {one.model} {size_label(one.size)} "
                    f"{one.precision} batch {one.batch} {one.preprocess}"
                )
        return self
