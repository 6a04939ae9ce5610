"""What the analysis of INT8 finds out: the parts of its JSON file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pydantic import Field

from bmodel.compiler.compiler_tools import CalibrationMethod
from bmodel.compiler.layers import RankedLayer
from bmodel.sidecar import Precision, PredictedLatency
from bmodel.validation import ExactModel
from jobs.measure.mean_ap_values import MeanAp


class Variant(ExactModel):
    """One way to compile the network. fp32_layers: mixed precision, what is not computed in INT8."""

    name: str
    precision: Precision
    method: str | None = None
    fp32_layers: tuple[str, ...] = ()


class HeadError(ExactModel):
    """How far one head differs from FP32 under ONNX Runtime, over all tuning images."""

    stride: int
    cosine: float
    relative_error: float = Field(description="root of the summed squares of differences, over that of FP32")


class Tuned(ExactModel):
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


class Finalist(ExactModel):
    """A variant on the scored images; everything by the chip simulator, a launch's time by the compiler's schedule."""

    variant: Variant
    mean_ap: MeanAp
    latency: PredictedLatency
    score: float | None = Field(description="the competition's, by the VOC tool's mAP")
    images: int
    seconds: float = Field(description="spent simulating")


class Verdict(ExactModel):
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


class Study(ExactModel):
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


WITH_HEADS: Final = 4  # so many of the worst layers beside the heads

FP32 = Variant(name="fp32", precision="fp32")


def int8_variant(method: CalibrationMethod) -> Variant:
    """Everything in INT8, the ranges found by one method."""
    return Variant(name=f"int8-{method}", precision="int8", method=method)


def mixed_variants(
    ranking: Sequence[RankedLayer],
    heads: Sequence[str],
    method: str,
    extend: Callable[[Sequence[str]], tuple[str, ...]],
) -> Iterator[Variant]:
    """Yield networks that keep the heads, or the 1, 2, 4, 8, … worst layers in FP32, and what `extend` adds to them.

    A ranking by cosine thinks little of the heads, and yet boxes and confidences are no finer than they are rounded.
    """
    if heads:
        yield Variant(name="mixed-heads", precision="mixed", method=method, fp32_layers=extend(heads))
        layers = extend([*heads, *(layer.name for layer in ranking[:WITH_HEADS] if layer.name not in heads)])
        yield Variant(name=f"mixed-heads-{WITH_HEADS}", precision="mixed", method=method, fp32_layers=layers)
    count = 1
    while count < len(ranking):
        layers = extend([layer.name for layer in ranking[:count]])
        yield Variant(name=f"mixed-{count}", precision="mixed", method=method, fp32_layers=layers)
        count *= 2


def best(tuned: Sequence[Tuned]) -> Tuned:
    """Return the variant that agrees most with FP32; of equals the one with fewer FP32 layers, then the first."""
    return max(tuned, key=lambda item: (item.agreement, -len(item.variant.fp32_layers)))


def choose_finalists(
    fp32: Tuned, int8: Sequence[Tuned], mixed: Sequence[Tuned], *, limit: int
) -> tuple[Tuned, ...]:
    """Choose what is scored: FP32, the best INT8, mixed networks, and INT8 by the compiler's default from five on.

    They come in the order in which they are to be scored, so that what falls to a short budget matters least.
    """
    chosen = [fp32, best(int8)]
    default = int8[0]
    extra = limit > len(chosen) + 2 and default not in chosen
    front = worthwhile([item for item in mixed if item.latency.raw_ms < fp32.latency.raw_ms])
    chosen += spread(front, limit - len(chosen) - extra)
    return (*chosen, default) if extra else tuple(chosen)


def worthwhile(mixed: Sequence[Tuned]) -> list[Tuned]:
    """Return the networks that none is both faster and nearer to FP32 than, the fastest first.

    Nearness is judged by the boxes: the heads' errors hardly show the rounding of what they put out, which costs most.
    """
    front: list[Tuned] = []
    for item in sorted(mixed, key=lambda item: (item.latency.raw_ms, -item.agreement)):
        if not front or item.agreement > front[-1].agreement:
            front.append(item)
    return front


def spread(front: Sequence[Tuned], count: int) -> list[Tuned]:
    """Choose some of a row evenly: one is the last, the most accurate; else both ends, then between."""
    if len(front) <= count:
        places = list(range(len(front)))
    else:
        places = [number * (len(front) - 1) // max(count - 1, 1) for number in range(count)]
    if len(places) == 1:
        return [front[-1]]
    return [front[place] for place in (*places[:1], *places[-1:], *places[1:-1])]


def judge(finalists: Sequence[Finalist], *, tolerance: float) -> Verdict:
    """Say whether a small set of FP32 layers brings AP50 back; the first finalist is FP32."""
    fp32 = finalists[0]
    int8 = max((item for item in finalists if item.variant.precision == "int8"), key=ap50_of)
    loss = ap50_of(fp32) - ap50_of(int8)
    good = [
        item
        for item in finalists[1:]
        if ap50_of(fp32) - ap50_of(item) <= tolerance and item.latency.raw_ms < fp32.latency.raw_ms
    ]
    smallest = min(good, key=lambda item: len(item.variant.fp32_layers), default=None)
    return Verdict(
        tolerance=tolerance,
        fp32_ap50=ap50_of(fp32),
        int8_ap50=ap50_of(int8),
        int8_loss=loss,
        restored_by=smallest.variant.name if smallest else None,
        fp32_layers=smallest.variant.fp32_layers if smallest else None,
        text=_verdict_text(fp32, int8, smallest, tolerance),
    )


def ap50_of(finalist: Finalist) -> float:
    """COCO's AP50; 0 where there was nothing to find."""
    return finalist.mean_ap.coco.ap50 or 0.0


def _verdict_text(fp32: Finalist, int8: Finalist, smallest: Finalist | None, tolerance: float) -> str:
    loss = ap50_of(fp32) - ap50_of(int8)
    text = (
        f"INT8 ({int8.variant.method}) has AP50 {ap50_of(int8):.4f} where FP32 has {ap50_of(fp32):.4f}: it loses "
        f"{loss:.4f}, and is predicted to take {_share(int8, fp32)} of FP32's time. "
    )
    if smallest is None:
        return text + (
            f"No network that was scored comes within {tolerance} of FP32 and is predicted to be faster: this search "
            "could not do it."
        )
    if not smallest.variant.fp32_layers:
        return text + f"That is within the tolerance of {tolerance}; no layer needs to stay in FP32."
    return text + (
        f"With {len(smallest.variant.fp32_layers)} layers in FP32, AP50 is {ap50_of(smallest):.4f}, within {tolerance} "
        f"of FP32, at {_share(smallest, fp32)} of its predicted time."
    )


def _share(item: Finalist, fp32: Finalist) -> str:
    return f"{item.latency.raw_ms / fp32.latency.raw_ms:.0%}"
