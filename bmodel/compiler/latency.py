"""Predicts how long the chip takes: the compiler's schedule, corrected by what has been published.

The schedule comes from code generation. It needs neither input nor card and does not depend on the weights.

The correction: for six networks in FP32 (yolov7, yolov5s, yolov8s, yolo11s, yolov9s at 640 pixels, resnet50 at 224)
the schedule's time is 0.885 (standard deviation 0.041) of the time that the vendor measured on a BM1684; leaving one
out, every corrected prediction is within 8 % of its measurement. For INT8 the ratio is anything from 0.43 to 0.98.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bmodel.compiler.layers import LayerName, LayerNames
from bmodel.compiler.schedule import CYCLES_PER_MS, Command, Schedule
from bmodel.sidecar import Precision, PredictedLatency
from bmodel.validation import ExactModel

RATIO: Final = 0.885
RATIO_DEVIATION: Final = 0.041
# What an even spread over the ratios seen, 0.43 to 0.98, would have.
INT8_RATIO_DEVIATION: Final = 0.16
FP32_NOTE: Final = (
    "schedule divided by 0.885 ± 0.041, its ratio to published measurements of six FP32 networks"
)
INT8_NOTE: Final = "rough: INT8 schedules have been 0.43 to 0.98 of published measurements, yolov7's 0.86 to 0.88; divided by 0.885"

# The vendor's figures for BM1684: operations a second.
PEAK_FLOPS: Final[dict[Precision, float]] = {"fp32": 2.2e12, "int8": 17.6e12, "mixed": 17.6e12}
# The fastest transfer in the compiler's model of the chip, 53.35 bytes a cycle of 550 MHz.
MEMORY_BYTES_PER_S: Final = 29.3e9


class LayerCost(ExactModel):
    """What one layer costs in a launch, ms.

    compute_ms: the compute engine works for it. transfer_ms: data move for it. share: of the whole time, counting
    transfers only where the compute engine has nothing to do meanwhile, so that all shares and the idle one add to 1.
    """

    name: str
    kind: str
    compute_ms: float
    transfer_ms: float
    share: float


class EngineUse(ExactModel):
    """How busy the chip's two engines are, as shares of the whole time."""

    compute: float
    transfer: float
    transfer_alone: float
    idle: float


class Roofline(ExactModel):
    """Where the network stands between the chip's two limits.

    intensity and ridge: operations a byte of memory traffic, the network's and where the limits meet.
    """

    flops: int
    memory_bytes: int
    intensity: float
    ridge: float
    attained_flops_per_s: float
    limit_flops_per_s: float
    bound: str


class LatencyReport(ExactModel):
    """All that the schedule tells of one launch; layers by cost, the dearest first."""

    precision: Precision
    prediction: PredictedLatency
    engines: EngineUse
    functions_ms: dict[str, float]
    roofline: Roofline
    layers: tuple[LayerCost, ...]


def correct(raw_ms: float, precision: Precision) -> PredictedLatency:
    """Correct a schedule's time by its documented ratio to measurements."""
    deviation = RATIO_DEVIATION if precision == "fp32" else INT8_RATIO_DEVIATION
    return PredictedLatency(
        raw_ms=raw_ms,
        corrected_ms=raw_ms / RATIO,
        uncertainty_ms=raw_ms / RATIO * deviation / RATIO,
        note=FP32_NOTE if precision == "fp32" else INT8_NOTE,
    )


def analyse(schedule: Schedule, names: LayerNames | None = None) -> LatencyReport:
    """Add up a schedule by layer, engine and function; without names a layer is called by type and number."""
    alone = _cycles_alone(schedule.transfers, schedule.compute)
    compute_cycles = sum(command.cycles for command in schedule.compute)
    transfer_cycles = sum(command.cycles for command in schedule.transfers)
    total = schedule.total_cycles
    return LatencyReport(
        precision=schedule.precision,
        prediction=correct(schedule.total_ms, schedule.precision),
        engines=EngineUse(
            compute=compute_cycles / total,
            transfer=transfer_cycles / total,
            transfer_alone=sum(alone) / total,
            idle=1 - (compute_cycles + sum(alone)) / total,
        ),
        functions_ms=_by_function(schedule.compute),
        roofline=_roofline(schedule),
        layers=_by_layer(schedule, alone, names),
    )


def _cycles_alone(transfers: tuple[Command, ...], compute: tuple[Command, ...]) -> list[int]:
    """For each transfer, the cycles in which the compute engine does nothing; both lists are in order of time."""
    alone = []
    first = 0
    for transfer in transfers:
        while first < len(compute) and compute[first].end < transfer.start:
            first += 1
        hidden = 0
        for command in compute[first:]:
            if command.start > transfer.end:
                break
            hidden += min(command.end, transfer.end) - max(command.start, transfer.start) + 1
        alone.append(transfer.cycles - hidden)
    return alone


def _by_function(commands: Iterable[Command]) -> dict[str, float]:
    cycles: dict[str, int] = {}
    for command in commands:
        cycles[command.function] = cycles.get(command.function, 0) + command.cycles
    return {name: cycles[name] / CYCLES_PER_MS for name in sorted(cycles, key=lambda name: -cycles[name])}


def _by_layer(schedule: Schedule, alone: list[int], names: LayerNames | None) -> tuple[LayerCost, ...]:
    compute: dict[LayerName, int] = {}
    moved: dict[LayerName, int] = {}
    counted: dict[LayerName, int] = {}
    for command in schedule.compute:
        layer = _layer_of(command, names.compute if names else {})
        compute[layer] = compute.get(layer, 0) + command.cycles
        counted[layer] = counted.get(layer, 0) + command.cycles
    for command, cycles in zip(schedule.transfers, alone, strict=True):
        layer = _layer_of(command, names.transfers if names else {})
        moved[layer] = moved.get(layer, 0) + command.cycles
        counted[layer] = counted.get(layer, 0) + cycles
    return tuple(
        LayerCost(
            name=layer.name,
            kind=layer.kind,
            compute_ms=compute.get(layer, 0) / CYCLES_PER_MS,
            transfer_ms=moved.get(layer, 0) / CYCLES_PER_MS,
            share=counted[layer] / schedule.total_cycles,
        )
        for layer in sorted(counted, key=lambda layer: (-counted[layer], layer.name, layer.kind))
    )


def _layer_of(command: Command, names: dict[int, LayerName]) -> LayerName:
    unnamed = LayerName(name=command.layer or command.kind, kind=command.kind)
    return names.get(command.number, unnamed)


def _roofline(schedule: Schedule) -> Roofline:
    peak = PEAK_FLOPS[schedule.precision]
    ridge = peak / MEMORY_BYTES_PER_S
    intensity = schedule.flops / max(1, schedule.memory_bytes)
    return Roofline(
        flops=schedule.flops,
        memory_bytes=schedule.memory_bytes,
        intensity=intensity,
        ridge=ridge,
        attained_flops_per_s=schedule.flops / schedule.total_ms * 1000,
        limit_flops_per_s=min(peak, intensity * MEMORY_BYTES_PER_S),
        bound="computation" if intensity >= ridge else "memory",
    )
