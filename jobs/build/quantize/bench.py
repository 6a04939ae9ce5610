"""The work of an analysis, kept in a folder so that a second run goes on where the first one ended.

study.json            what is analysed; another network or other images need another folder
calibration/          the calibration's images as the network sees them
builds/<variant>/     compiled networks
tuned/<variant>.json  what they do on the tuning images
scored/<variant>/     their detections on the scored ones, a few images a file
ranking.json          the layers by their error
spent.json            seconds of work so far
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from bmodel.compiler.build import Build, read_build
from bmodel.compiler.compile import CompileRequest, compile_network, describe_calibration
from bmodel.errors import ConfigurationError, ModelFileError, ToolError
from bmodel.sidecar import Frozen

Report = Callable[[str], None]
Value = TypeVar("Value", bound=Frozen)


class BudgetSpentError(ToolError):
    """The time that was granted is used up; what is done is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """Counts the time of all runs of an analysis.

    before_s: of earlier runs. started_s: this run's, on the monotonic clock.
    """

    path: Path
    limit_s: float
    before_s: float
    started_s: float

    @classmethod
    def start(cls, path: Path, limit_s: float) -> Clock:
        """Go on counting from what earlier runs wrote."""
        try:
            before_s = float(json.loads(path.read_bytes())["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            before_s = 0.0
        return cls(path=path, limit_s=limit_s, before_s=before_s, started_s=time.monotonic())

    @property
    def spent_s(self) -> float:
        """Seconds of work so far."""
        return self.before_s + time.monotonic() - self.started_s

    def save(self) -> None:
        """Keep the count for the next run."""
        write_whole(self.path, json.dumps({"seconds": round(self.spent_s, 1)}) + "\n")

    def check(self) -> None:
        """Save the count; raises BudgetSpentError when no time is left."""
        self.save()
        if self.spent_s > self.limit_s:
            raise BudgetSpentError(
                f"the {self.limit_s / 60:g} minutes are used up; all that is done is kept: run the same command with "
                "more --minutes to go on"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """An analysis' folder."""

    folder: Path
    clock: Clock
    report: Report

    @classmethod
    def open(cls, folder: Path, fingerprint: dict[str, str], *, minutes: float, report: Report) -> Bench:
        """Open a folder for one analysis; raises ConfigurationError when it holds another."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "study.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            different = sorted(name for name in fingerprint if found.get(name) != fingerprint[name])
            if different:
                raise ConfigurationError(
                    f"--output: '{folder}' holds an analysis of another {', '.join(different)}; name another folder"
                )
        write_whole(path, json.dumps(fingerprint, indent=1, sort_keys=True) + "\n")
        return cls(folder=folder, clock=Clock.start(folder / "spent.json", minutes * 60), report=report)

    def build(self, request: CompileRequest) -> Build:
        """Compile, unless the very same was compiled before."""
        folder = self.folder / "builds"
        try:
            build = read_build(folder / request.name)
            if _is_of(build, request):
                return build
        except ModelFileError:
            pass
        self.clock.check()
        return compile_network(request, folder=folder, report=self.report)

    def kept(self, name: str, kind: type[Value], make: Callable[[], Value]) -> Value:
        """Read a result, or make it and keep it."""
        path = self.folder / name
        try:
            return kind.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            pass
        self.clock.check()
        value = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, value.model_dump_json(indent=1) + "\n")
        return value


def write_whole(path: Path, text: str) -> None:
    """Write a file, complete or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _is_of(build: Build, request: CompileRequest) -> bool:
    record = build.record
    return (
        record.input_shape == request.input_shape
        and record.precision == request.precision
        and record.normalisation == request.normalisation
        and record.fp32_layers == request.fp32_layers
        and record.calibration == describe_calibration(request.calibration)
    )
