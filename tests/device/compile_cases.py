"""What the compile tests share: the command as a process of its own, pictures, and networks that cannot be compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.training.make_tiny import draw_pictures
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S, start_process

TINY = ROOT / "models/tiny.onnx"
PROGRAM = (
    "from jobs.commands.compile import command; from jobs.command_line import run_alone; "
    "run_alone(command, prog_name='raysail compile')"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def start_compile(
    *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `raysail compile` with arguments; it ends with the test at the latest."""
    return start_process(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        folder=ROOT,
        environment=os.environ | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run_compile(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Outcome:
    """Run `raysail compile` to its end."""
    process = start_compile(*arguments, environment=environment)
    stdout, stderr = process.communicate(timeout=HANG_S)
    return Outcome(returncode=process.returncode, stdout=stdout, stderr=stderr)


def write_pictures(folder: Path, count: int, *, seed: int = 7) -> Path:
    """Write drawn pictures of the tiny network's size into a new folder."""
    folder.mkdir()
    for number, picture in enumerate(draw_pictures(count, seed=seed)):
        cv2.imwrite(str(folder / f"{number:03}.png"), picture)
    return folder


def save_network(
    path: Path, nodes: list[Any], *, weights: Mapping[str, np.ndarray[Any, Any]] | None = None
) -> Path:
    """Write an ONNX file with the outputs of a decoded detector, (1, 1536, 8): x · the mean of `y`, reshaped.

    nodes: make `y` of any shape from `x` (1, 3, 64, 64).
    """
    import onnx
    from onnx import helper, numpy_helper

    own = {"boxes": np.array([1, 1536, 8], np.int64)} | dict(weights or {})
    closing = [
        node("ReduceMean", ["y"], "mean", keepdims=0),
        node("Mul", ["x", "mean"], "scaled"),
        node("Reshape", ["scaled", "boxes"], "decoded"),
    ]
    graph = helper.make_graph(
        [*nodes, *closing],
        "bad",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("decoded", onnx.TensorProto.FLOAT, [1, 1536, 8])],
        [numpy_helper.from_array(value, name) for name, value in own.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    """Make a node."""
    from onnx import helper

    return helper.make_node(kind, inputs, [output], **attributes)


def names(folder: Path) -> set[str]:
    """Return the names of everything in a folder, hidden or not; empty when there is no folder."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()
