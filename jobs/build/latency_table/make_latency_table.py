"""Compiles the YOLOv7 family and writes what the chip is predicted to take beside what has been published.

    python -m jobs.build.latency_table.make_latency_table [--work build/latency] [--results docs/results/latency]

Random weights will do: the schedule depends on shapes alone. One network at a time, the largest needs 7 GB of
memory; what is done is kept in the work folder, so the command can be stopped and repeated. It needs PyTorch for
the networks that are not in the work folder's `onnx` yet.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bmodel.compiler.compile import Calibration, CompileRequest, compile_network
from bmodel.compiler.latency import LatencyReport
from bmodel.errors import ConfigurationError
from bmodel.files import replacing, write_whole
from bmodel.sidecar import Normalisation
from bmodel.validation import ExactModel
from data.scenes import TRAINING
from jobs.build.compile.source_network import write_calibration_images
from jobs.build.latency_table.latency_rows import PUBLISHED, Published, TableRow, make_row, write_tables
from jobs.command_line import errors_as_one_line
from jobs.console.stop_signals import stoppable

CALIBRATION_COUNT: Final = 2  # the ranges do not matter for time: few images, and the fastest method

Report = Callable[[str], None]


class Compiled(ExactModel):
    """What is kept of a compilation; the BModel itself is of no use to anybody."""

    report: LatencyReport
    seconds: float
    bmodel_bytes: int
    tpu_mlir: str


def main(arguments: list[str] | None = None) -> None:
    """Compile what is missing and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.build.latency_table.make_latency_table", description=main.__doc__
    )
    parser.add_argument("--work", type=Path, default=Path("build/latency"))
    parser.add_argument(
        "--results", type=Path, default=Path("docs/results/latency"), help="without extension"
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="MODEL", help="these networks alone")
    options = parser.parse_args(arguments)
    with errors_as_one_line(), stoppable():
        rows = compile_family(options.work, only=options.only, report=lambda line: print(line, flush=True))  # noqa: T201
        write_tables(rows, options.results)
    sys.stdout.write(f"{options.results}.md\n")


def compile_family(work: Path, *, only: list[str], report: Report) -> list[TableRow]:
    """Compile every network that is not there yet, the smallest first; returns the table's rows."""
    unknown = sorted(set(only) - {item.model for item in PUBLISHED})
    if unknown:
        raise ConfigurationError(f"--only: must be models of the table, got {', '.join(unknown)}")
    wanted = [item for item in PUBLISHED if not only or item.model in only]
    compiled = {}
    for item in sorted(wanted, key=_weight):
        compiled[item] = _kept(work / f"{item.name}.json") or _compile(item, work, report)
        latency = compiled[item].report.prediction
        report(f"{item.name}: {latency.raw_ms / item.batch:.3f} ms per image by the schedule")
    return [make_row(item, compiled[item].report, compiled[item].seconds) for item in wanted]


def _weight(item: Published) -> int:
    """Order networks by how much memory and time their compilation takes."""
    return ("yolov7-tiny", "yolov7", "yolov7x", "yolov7-e6e").index(item.model) * 10_000 + item.input_px


def _kept(path: Path) -> Compiled | None:
    try:
        return Compiled.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _compile(item: Published, work: Path, report: Report) -> Compiled:
    report(item.name)
    onnx = work / "onnx" / f"{item.model}_{item.input_px}_{item.batch}b.onnx"
    if not onnx.is_file():
        _export(item, onnx)
    request = CompileRequest(
        onnx=onnx,
        name=item.name,
        input_shape=(item.batch, 3, item.input_px, item.input_px),
        precision=item.precision,
        calibration=None if item.precision == "fp32" else _calibration(item.input_px, work),
    )
    build = compile_network(request, folder=work / "builds", report=report)
    compiled = Compiled(
        report=build.latency(),
        seconds=build.record.seconds,
        bmodel_bytes=build.bmodel.stat().st_size,
        tpu_mlir=build.record.tpu_mlir,
    )
    write_whole(work / f"{item.name}.json", compiled.model_dump_json(indent=1) + "\n")
    # Hundreds of megabytes each.
    shutil.rmtree(build.folder)
    onnx.unlink()
    return compiled


def _export(item: Published, path: Path) -> None:
    try:
        import torch

        from models.yolov7.export_onnx import export_onnx
        from models.yolov7.family import model_name
        from models.yolov7.network import build_network
    except ImportError as error:
        raise ConfigurationError(
            f"'{path}' has to be made, which needs PyTorch and onnx (pip install '.[models]'): {error}"
        ) from error
    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        export_onnx(
            build_network(model_name(item.model), 80), temporary, (item.input_px, item.input_px), item.batch
        )


def _calibration(side_px: int, work: Path) -> Calibration:
    folder = work / "calibration"
    folder.mkdir(parents=True, exist_ok=True)
    scenes = []
    for number in range(CALIBRATION_COUNT):
        scenes.append(folder / f"{number}.jpg")
        scenes[-1].write_bytes(TRAINING.jpeg(number, TRAINING.scene(number)))
    images = folder / str(side_px)
    write_calibration_images(scenes, images, input_hw=(side_px, side_px), normalisation=Normalisation())
    return Calibration(images=images, count=CALIBRATION_COUNT, method="use_max")


if __name__ == "__main__":
    main()
