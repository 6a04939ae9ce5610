"""What the analysis of INT8 finds out: the parts of its JSON file."""

from __future__ import annotations

from pydantic import Field

from bmodel.layer_ranking import RankedLayer
from bmodel.sidecar import Frozen, Precision, PredictedLatency
from jobs.mean_ap_values import MeanAp


class Variant(Frozen):
    """One way to compile the network. fp32_layers: mixed precision, what is not computed in INT8."""

    name: str
    precision: Precision
    method: str | None = None
    fp32_layers: tuple[str, ...] = ()


class HeadError(Frozen):
    """How far one head is from FP32 under ONNX Runtime, over all tuning images."""

    stride: int
    cosine: float
    relative_error: float = Field(description="root of the summed squares of differences, over that of FP32")


class Tuned(Frozen):
    """A variant on the tuning images, whose truth nobody needs to know.

    agreement: AP50 of its detections when those of FP32 with a confidence of 0.25 and above are taken for the truth.
    latency: of a launch.
    """

    variant: Variant
    heads: tuple[HeadError, ...]
    agreement: float
    latency: PredictedLatency
    bmodel_sha256: str
    images: int


class Finalist(Frozen):
    """A variant on the scored images; everything by the chip simulator, a launch's time by the compiler's schedule."""

    variant: Variant
    mean_ap: MeanAp
    latency: PredictedLatency
    score: float | None = Field(description="the competition's, by the VOC tool's mAP")
    images: int
    seconds: float = Field(description="spent simulating")


class Verdict(Frozen):
    """Whether a small set of FP32 layers brings the accuracy back.

    fp32_layers: of the smallest network within the tolerance and predicted to be faster than FP32; empty when INT8
    itself is, null when there is none.
    """

    tolerance: float
    fp32_ap50: float
    int8_ap50: float
    int8_loss: float
    restored_by: str | None
    fp32_layers: tuple[str, ...] | None
    text: str


class Study(Frozen):
    """The whole analysis."""

    command: str
    network: str
    network_sha256: str
    tools: dict[str, str]
    batch: int
    calibration_images: int
    tuning_images: int
    scored_images: int
    tuned: tuple[Tuned, ...]
    ranking: tuple[RankedLayer, ...]
    finalists: tuple[Finalist, ...]
    verdict: Verdict
    minutes: float
