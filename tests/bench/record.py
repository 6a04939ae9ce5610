"""What the benchmarks found, as docs/results/bench.json keeps it: raw samples, figures and circumstances."""

from __future__ import annotations

import statistics
from pathlib import Path

from pydantic import Field

from bmodel.validation import ExactModel


class Goal(ExactModel):
    """What a figure should be."""

    at_least: float | None = None
    at_most: float | None = None

    def met_by(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


class Figure(ExactModel):
    """One number: the median of `values`, of which every round gave one.

    line: which of the nine things to show it belongs to. values: in `unit`, a ratio within one round wherever there
    is a peer or a bound. samples: what the values were made of, raw, in `samples_unit`, a series a side.
    """

    line: str
    text: str
    unit: str
    values: tuple[float, ...]
    samples: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    samples_unit: str = ""
    goal: Goal | None = None
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """None where there is no goal: a figure that explains others."""
        return None if self.goal is None else self.goal.met_by(self.value)


class Table(ExactModel):
    """Where the time goes, or what a choice was made from. Cells are numbers or words."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    note: str = ""


class Machine(ExactModel):
    processor: str
    cores: int
    memory_gb: float
    kernel: str


class Part(ExactModel):
    """One part of the benchmarks, measured in one go on one machine.

    commit: of the code; changed: whether files of the product differed from it. load: the machine's load average
    over a minute before the part began.
    """

    name: str
    title: str
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...] = ()
    material: str
    commit: str
    changed: bool
    measured: str
    seconds: float
    load: float
    machine: Machine
    versions: dict[str, str]


class Bench(ExactModel):
    """All parts; each may be measured anew without the others."""

    schema_version: int = 1
    parts: tuple[Part, ...] = ()

    def with_part(self, part: Part, order: tuple[str, ...]) -> Bench:
        parts = {known.name: known for known in self.parts} | {part.name: part}
        return Bench(parts=tuple(parts[name] for name in order if name in parts))


def read_bench(path: Path) -> Bench:
    return Bench.model_validate_json(path.read_bytes()) if path.is_file() else Bench()


def write_bench(bench: Bench, path: Path) -> None:
    """Write the JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(bench.model_dump_json(indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
