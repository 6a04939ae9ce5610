"""What a part of the benchmarks returns; the runner adds the circumstances."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.record import Figure, Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    title: str
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...] = ()
