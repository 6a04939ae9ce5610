"""Compiles an ONNX file for one input shape into a build's folder (build.py says what is in it)."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bmodel.compiler.build import (
    OPERATIONS,
    RECORD,
    SCHEDULE,
    Build,
    BuildRecord,
    latency_path,
)
from bmodel.compiler.build_folder import Staging, building
from bmodel.compiler.compiler_tools import (
    CALIBRATION_TABLE,
    LAYER_TABLE,
    MLIR,
    CalibrationMethod,
    CompilerTools,
    Report,
)
from bmodel.compiler.latency import analyse
from bmodel.compiler.layers import LayerRanking, known_names, layer_table, read_layer_names, read_ranking
from bmodel.compiler.schedule import Schedule, parse_schedule
from bmodel.compiler.toolchain import find_toolchain
from bmodel.container import read_container
from bmodel.errors import ModelFileError, ToolError
from bmodel.files import file_sha256, lack_of_space
from bmodel.model_file import CHIP
from bmodel.sidecar import Normalisation, Precision

# Weights are written some five times on the way, FP32 and packed.
FREE_BYTES_A_WEIGHT_BYTE: Final = 8
FREE_BYTES_AT_LEAST: Final = 200_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How INT8's ranges are found: on the first `count` images of a folder, each of the network's input size."""

    images: Path
    count: int
    method: CalibrationMethod = "kl"


@dataclass(frozen=True, kw_only=True, slots=True)
class CompileRequest:
    """What to compile.

    calibration: for INT8 and mixed precision, images, or the table of an earlier build of the same network.
    fp32_layers: for mixed precision, the layers that stay in FP32, by the compiled network's names; the others are
        computed in INT8.
    quantised_io: an INT8 network with 8-bit inputs and outputs.
    """

    onnx: Path
    name: str
    input_shape: tuple[int, int, int, int]
    precision: Precision = "fp32"
    normalisation: Normalisation = field(default_factory=Normalisation)
    calibration: Calibration | Path | None = None
    fp32_layers: tuple[str, ...] = ()
    quantised_io: bool = False

    def __post_init__(self) -> None:
        if (self.precision == "fp32") != (self.calibration is None):
            raise ValueError(
                f"calibration is for INT8 and mixed precision, got {self.calibration} with {self.precision}"
            )
        if (self.precision == "mixed") != bool(self.fp32_layers):
            raise ValueError(
                f"fp32_layers are for mixed precision, got {self.fp32_layers} with {self.precision}"
            )


def compile_network(request: CompileRequest, *, folder: Path, report: Report) -> Build:
    """Compile into `folder`/<name>, in place of an older build; raises ToolError with the cause.

    A failed build leaves `folder`/<name>.failed with the tools' logs, and an older build as it was.
    """
    toolchain = find_toolchain()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolError(f"cannot build in '{folder}': {error.strerror}") from error
    needed = max(FREE_BYTES_AT_LEAST, FREE_BYTES_A_WEIGHT_BYTE * request.onnx.stat().st_size)
    if lack := lack_of_space(folder, needed):
        raise ToolError(lack)
    started = time.monotonic()
    target = folder / request.name
    with building(target) as staging:
        tools = CompilerTools(toolchain=toolchain, staging=staging, report=report)
        tools.transform(request.onnx, request.input_shape, request.normalisation)
        _prepare_quantisation(request, tools)
        regrouped = tools.deploy(
            request.name,
            int8=request.precision != "fp32",
            mixed=request.precision == "mixed",
            quantised_io=request.quantised_io,
        )
        _collect(request, staging)
        record = _record(
            request, staging, toolchain.record.tpu_mlir, regrouped, seconds=time.monotonic() - started
        )
        (staging.folder / RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return Build(folder=target, record=record)


def rank_layers(
    request: CompileRequest, *, folder: Path, images: Path, count: int, report: Report
) -> LayerRanking:
    """Rank the network's layers by their error in INT8, the worst first; keeps the logs in `folder`/<name>."""
    toolchain = find_toolchain()
    with building(folder / request.name) as staging:
        tools = CompilerTools(toolchain=toolchain, staging=staging, report=report)
        tools.transform(request.onnx, request.input_shape, request.normalisation)
        ranked = read_ranking(tools.search_layers(images, count))
        known = known_names((staging.work / MLIR).read_text(encoding="utf-8"))
        return LayerRanking(layers=ranked, images=count, known=known)


def describe_calibration(calibration: Calibration | Path | None) -> str:
    """Say how the ranges were found."""
    if calibration is None:
        return ""
    if isinstance(calibration, Path):
        return f"table {file_sha256(calibration)}"
    return f"{calibration.method} on {calibration.count} images"


def _prepare_quantisation(request: CompileRequest, tools: CompilerTools) -> None:
    work = tools.staging.work
    if isinstance(request.calibration, Path):
        shutil.copyfile(request.calibration, work / CALIBRATION_TABLE)
    elif request.calibration is not None:
        calibration = request.calibration
        tools.calibrate(calibration.images, calibration.count, calibration.method)
    if request.fp32_layers:
        (work / LAYER_TABLE).write_text(layer_table(request.fp32_layers), encoding="utf-8")


def _collect(request: CompileRequest, staging: Staging) -> None:
    """Move what is kept out of the work folder, and read it all once: a build is only whole when it can be read."""
    bmodel = f"{request.name}.bmodel"
    kept = {bmodel: bmodel, "_0.dat": SCHEDULE, f"{bmodel}.json": OPERATIONS}
    if request.precision != "fp32":
        kept[CALIBRATION_TABLE] = CALIBRATION_TABLE
    if request.precision == "mixed":
        kept[LAYER_TABLE] = LAYER_TABLE
    for source, target in kept.items():
        (staging.work / source).rename(staging.folder / target)
    stage = read_container(staging.folder / bmodel, chip=CHIP).single_network().stages[0]
    if len(stage.inputs) != 1 or stage.inputs[0].shape != request.input_shape:
        shapes = [tensor.shape for tensor in stage.inputs]
        raise ToolError(f"the compiler was asked for an input of {request.input_shape}, and made {shapes}")
    report = analyse(_read_own_schedule(staging), read_layer_names(staging.folder / OPERATIONS))
    latency_path(staging.folder / bmodel).write_text(
        report.model_dump_json(indent=1) + "\n", encoding="utf-8"
    )


def _read_own_schedule(staging: Staging) -> Schedule:
    """Read the schedule; one that cannot be read is kept with the logs, for whoever has to find out why."""
    path = staging.folder / SCHEDULE
    try:
        return parse_schedule(path.read_text(encoding="utf-8", errors="replace"), name=SCHEDULE)
    except ModelFileError:
        shutil.copyfile(path, staging.logs / SCHEDULE)
        raise


def _record(
    request: CompileRequest, staging: Staging, tpu_mlir: str, regrouped: tuple[str, ...], *, seconds: float
) -> BuildRecord:
    return BuildRecord(
        name=request.name,
        source_name=request.onnx.name,
        source_sha256=file_sha256(request.onnx),
        input_shape=request.input_shape,
        precision=request.precision,
        normalisation=request.normalisation,
        calibration=describe_calibration(request.calibration),
        fp32_layers=request.fp32_layers,
        regrouped_layers=regrouped,
        quantised_io=request.quantised_io,
        bmodel_sha256=file_sha256(staging.folder / f"{request.name}.bmodel"),
        tpu_mlir=tpu_mlir,
        seconds=round(seconds, 1),
    )
