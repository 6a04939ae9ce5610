"""The file of `raysail reproduce`: a network, up to two image sets, and the figures that are expected of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from bmodel.sidecar import Precision
from jobs.job_file import FilePart
from jobs.latency import ITimeSource

SetName = Literal["b-set", "validation"]


class Network(FilePart):
    """The network whose figures were published. make: how to come by the file, shown when it is not there."""

    file: Path
    input_hw: tuple[int, int]
    precision: Precision
    batch: int = Field(gt=0)
    class_names: tuple[str, ...] = Field(min_length=1)
    make: str = ""


class ImageSet(FilePart):
    """One image set. about: what belongs there, shown when it is not. options: of `raysail detect`, for it alone."""

    images: str
    count: int = Field(gt=0)
    ground_truth: Path | None = None
    about: str = ""
    options: dict[str, Any] = Field(default_factory=dict)


class ExpectedMap(FilePart):
    """MAP at IoU 0.5, a fraction, by the protocol that `options` names for the score."""

    set: SetName
    published: float = Field(ge=0, le=1)
    tolerance: float = Field(ge=0)


class ExpectedTime(FilePart):
    """i_time, ms. source: where the figure must come from to be compared."""

    set: SetName
    published: float = Field(gt=0)
    tolerance: float = Field(ge=0)
    source: ITimeSource = "measured on BM1684"


class ExpectedScore(FilePart):
    """The score of the two above."""

    published: float
    tolerance: float = Field(ge=0)


class Expectations(FilePart):
    """The published figures; what is left out is not asked for."""

    map50: ExpectedMap | None = None
    i_time_ms: ExpectedTime | None = None
    score: ExpectedScore | None = None

    @model_validator(mode="after")
    def _score_needs_both(self) -> Expectations:
        if self.score is not None and (self.map50 is None or self.i_time_ms is None):
            raise ValueError("score needs map50 and i-time-ms beside it")
        return self


class Reproduction(FilePart):
    """The whole file. options: of `raysail detect`, for both sets."""

    title: str
    output: Path
    network: Network
    options: dict[str, Any] = Field(default_factory=dict)
    sets: dict[SetName, ImageSet] = Field(min_length=1)
    expectations: Expectations

    @model_validator(mode="after")
    def _sets_fit(self) -> Reproduction:
        expected = self.expectations
        for name, part in (("map50", expected.map50), ("i-time-ms", expected.i_time_ms)):
            if part is not None and part.set not in self.sets:
                raise ValueError(f"expectations.{name}.set: must be one of the sets, got '{part.set}'")
        if expected.map50 is not None and self.sets[expected.map50.set].ground_truth is None:
            raise ValueError(
                f"expectations.map50.set: must have ground-truth, and '{expected.map50.set}' has none"
            )
        return self
