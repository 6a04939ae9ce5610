"""Runs the compiler's tools, one at a time, in a build's folder: ONNX → MLIR → calibration → BModel.

Each tool writes files of fixed names where it runs, so a build has its folder to itself.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bmodel.compiler.build_folder import Staging
from bmodel.compiler.layer_groups import TAKE_GROUPS, find_misreads, mend_groups
from bmodel.compiler.toolchain import Toolchain
from bmodel.errors import ToolError
from bmodel.sidecar import Normalisation
from bmodel.signals import signals_held_back

CHIP: Final = "bm1684"
MLIR: Final = "network.mlir"
CALIBRATION_TABLE: Final = "calibration.table"
LAYER_TABLE: Final = "layers.table"

CalibrationMethod = Literal["kl", "mse", "max", "percentile9999", "aciq_laplace", "aciq_gauss", "use_max"]
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class CompilerTools:
    """The tools of an installed compiler, at work on one build."""

    toolchain: Toolchain
    staging: Staging
    report: Report

    def transform(self, onnx: Path, input_shape: tuple[int, ...], normalisation: Normalisation) -> None:
        """Read an ONNX file for one input shape."""
        self._run(
            "reading the network",
            "model_transform",
            *("--model_name", re.sub(r"\W", "_", onnx.stem), "--model_def", str(onnx.absolute())),
            *("--input_shapes", f"[[{','.join(map(str, input_shape))}]]"),
            # These tell calibration how to read images; the compiled network is fed normalised ones.
            *("--mean", ",".join(map(repr, normalisation.mean))),
            *("--scale", ",".join(map(repr, normalisation.scale))),
            *("--pixel_format", normalisation.channels, "--keep_aspect_ratio"),
            *("--mlir", MLIR),
        )

    def calibrate(self, images: Path, count: int, method: CalibrationMethod) -> None:
        """Find the range of every layer's values on images of the input's size; leaves CALIBRATION_TABLE."""
        self._run(
            f"calibrating on {count} images ({method})",
            "run_calibration",
            *(MLIR, "--dataset", str(images.absolute()), "--input_num", str(count)),
            *("--cali_method", method, "-o", CALIBRATION_TABLE),
        )
        self._expect(CALIBRATION_TABLE, "run_calibration")

    def search_layers(self, images: Path, count: int) -> str:
        """Let the compiler rank the layers by what their INT8 costs; returns its log (`layers.py` reads it)."""
        self._run(
            f"ranking the layers by their error in INT8, on {count} images",
            "run_calibration",
            *(MLIR, "--dataset", str(images.absolute()), "--input_num", str(count)),
            *("--search", "search_qtable", "--inference_num", str(count), "--expected_cos", "0.99999"),
            *("--chip", CHIP, "--quantize_table", "searched.table", "-o", "searched.cali"),
        )
        return self._log("run_calibration").read_text(encoding="utf-8", errors="replace")

    def deploy(self, name: str, *, int8: bool, mixed: bool, quantised_io: bool) -> tuple[str, ...]:
        """Compile for the chip; needs CALIBRATION_TABLE for INT8, LAYER_TABLE too for mixed precision.

        Returns the layers that had to be taken out of their groups (layer_groups.py says why).
        """
        arguments = ["--mlir", MLIR, "--chip", CHIP, "--model", f"{name}.bmodel"]
        arguments += ["--quantize", "INT8" if int8 else "F32", "--skip_validation"]
        if int8:
            arguments += ["--calibration_table", CALIBRATION_TABLE]
        if mixed:
            arguments += ["--quantize_table", LAYER_TABLE]
        if quantised_io:
            arguments += ["--quant_input", "--quant_output"]
        self._run("compiling for the chip", "model_deploy", *arguments)
        wrong = self._mend_groups()
        if wrong:
            self.report(f"the compiler reads the wrong images into {', '.join(wrong)}: these will run alone")
            self._run(
                "compiling for the chip again", "model_deploy", *arguments, more_environment=TAKE_GROUPS
            )
            if left := self._misread_layers():
                raise ToolError(f"the compiler reads the wrong images into '{left[0]}', even alone")
        for written in (f"{name}.bmodel", f"{name}.bmodel.json", "_0.dat"):
            self._expect(written, "model_deploy")
        return wrong

    def _mend_groups(self) -> tuple[str, ...]:
        """Mend the compiler's file of layer groups, if it has to be; returns the layers that were taken out."""
        layers = self._misread_layers()
        if layers:
            groups = self._written("*.layer_group_cache.json")
            groups.write_text(mend_groups(groups.read_text(encoding="utf-8"), layers), encoding="utf-8")
        return layers

    def _misread_layers(self) -> tuple[str, ...]:
        return find_misreads(self._written("*_final.mlir").read_text(encoding="utf-8"))

    def _written(self, pattern: str) -> Path:
        """Return the one file of that kind that a tool left."""
        found = list(self.staging.work.glob(pattern))
        if len(found) != 1:
            raise ToolError(f"the compiler left {len(found)} files '{pattern}', where one is expected")
        return found[0]

    def _run(
        self, what: str, tool: str, *arguments: str, more_environment: Mapping[str, str] | None = None
    ) -> None:
        self.report(what)
        command = [*self.toolchain.tool(tool), *arguments]
        started = time.monotonic()
        with self._log(tool).open("wb") as log:
            log.write(f"$ {shlex.join(command)}\n".encode())
            log.flush()
            environment = self.toolchain.environment() | dict(more_environment or {})
            returncode = self._wait(command, environment, log.fileno())
        if returncode != 0:
            text = self._log(tool).read_text(encoding="utf-8", errors="replace")
            raise ToolError(f"the compiler failed while {what}: {explain_failure(text, returncode)}")
        self.report(f"{what}: {time.monotonic() - started:.0f} s")

    def _wait(self, command: list[str], environment: dict[str, str], log: int) -> int:
        """Run a command to its end; its whole process group is dead after this call, however it ends."""
        process = None
        try:
            with signals_held_back():
                process = subprocess.Popen(
                    command,
                    cwd=self.staging.work,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(self.staging.lock_fd,),
                    start_new_session=True,
                )
            # The process is left unreaped until its group is gone, so that its number cannot be someone else's.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        except OSError as error:
            raise ToolError(f"cannot start '{command[0]}': {error.strerror}") from error
        finally:
            if process is not None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return process.returncode

    def _log(self, tool: str) -> Path:
        return self.staging.logs / f"{tool}.log"

    def _expect(self, written: str, tool: str) -> None:
        if not (self.staging.work / written).is_file():
            raise ToolError(f"the compiler's {tool} ended well but wrote no '{written}'")


_OUT_OF_MEMORY: Final = "memory ran out"
_KILLED: Final = "was killed, as the kernel does when memory runs out"

# In this order: the first pattern found tells the cause, and what comes late is often a consequence.
_CAUSES: Final[tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]] = (
    (r"No space left on device", "the disk is full"),
    (r"MemoryError|std::bad_alloc|out of memory|Allocation failed|Cannot allocate memory", _OUT_OF_MEMORY),
    (
        r"Op not support:\{(.+)\}",
        lambda found: f"it does not know the operator {found[1].replace(chr(39), '')}",
    ),
    (
        r'"top\.(\w+)"\(.*loc\("([^"]+)"\)\s*\n(?:.*\n)?unimplemented tpu dialect',
        lambda found: f"the chip has no operator {found[1]} (layer '{found[2]}')",
    ),
    (
        r"input shapes error|Incompatible dimensions|ShapeInferenceError",
        "the network cannot have the input shape that was asked for",
    ),
    (r"google\.protobuf\.message\.DecodeError", "the file is not an ONNX file"),
    (r'loc\("([^"]+)"[^)]*\): error: (.+)', lambda found: f"layer '{found[1]}': {found[2].strip()}"),
    (r"^(?:LLVM ERROR: )(.+)", lambda found: found[1].strip()),
    (r"^(.*Assertion .+ failed.*|UNREACHABLE executed at .+)$", lambda found: found[1].strip()),
    (r"^(Segmentation fault|Aborted)", "it crashed"),
)
_PYTHON_ERROR: Final = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception)): (.*)$", re.MULTILINE)


def explain_failure(log: str, returncode: int) -> str:
    """Return the cause of a tool's failure, from its log and its exit status (negative: the signal that ended it)."""
    if returncode < 0:
        number = -returncode
        return _KILLED if number == signal.SIGKILL else f"was ended by {signal.Signals(number).name}"
    # Progress bars rewrite their line.
    text = log.replace("\r", "\n")
    for pattern, cause in _CAUSES:
        found = re.search(pattern, text, re.MULTILINE)
        if found:
            return cause if isinstance(cause, str) else cause(found)
    errors = _PYTHON_ERROR.findall(text)
    # The tools start the real compiler through a shell, which hides a signal: it just ends, without a word.
    if errors and errors[-1][1].startswith("[!Error]: tpuc-opt"):
        return _KILLED
    return f"{errors[-1][0]}: {errors[-1][1]}" if errors else f"it gave no reason (exit status {returncode})"
