"""Predicted times of a sweep's points: from a BModel's sidecar, or from a table of compiled networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bmodel.errors import ModelFileError
from bmodel.sidecar import Precision, read_sidecar, sidecar_path
from bmodel.validation import first_fault
from jobs.study.sweep_points import Point, Predicted

# Network, input height and width, precision, batch.
Key = tuple[str, tuple[int, int], Precision, int]


class _TableRow(BaseModel):
    """What is of use here in a row of the table; times are ms per image."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    model: str
    size: int
    precision: Precision
    batch: int
    corrected_ms: float
    uncertainty_ms: float


class _Table(BaseModel):
    model_config = ConfigDict(extra="ignore")

    rows: list[_TableRow]


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """The table's predictions, by network; a sidecar's own goes first."""

    table: dict[Key, Predicted]

    def of(self, point: Point) -> Predicted | None:
        """The prediction for a point's network, if there is one; the BModel itself need not be there."""
        return _of_sidecar(point) or self.table.get(
            (point.model, point.size_hw, point.precision, point.batch)
        )


def _of_sidecar(point: Point) -> Predicted | None:
    path = sidecar_path(point.file)
    if not path.is_file():
        return None
    try:
        spec = read_sidecar(path)
    except ModelFileError:  # what is wrong with it is said where the network is loaded
        return None
    found = (spec.input_hw, spec.precision, spec.batch)
    if spec.latency is None or found != (point.input_hw, point.precision, point.batch):
        return None
    return Predicted(
        ms=spec.latency.corrected_ms / spec.batch, uncertainty_ms=spec.latency.uncertainty_ms / spec.batch
    )


def read_predictions(path: Path | None) -> Predictions:
    """Read the table that `python -m jobs.build.latency_table.make_latency_table` writes; where there is none, nothing is predicted by it.

    Raises ModelFileError for a file that is something else.
    """
    if path is None or not path.exists():
        return Predictions(table={})
    try:
        rows = _Table.model_validate_json(path.read_bytes()).rows
    except (OSError, ValidationError) as error:
        reason = first_fault(error) if isinstance(error, ValidationError) else error.strerror
        raise ModelFileError(
            f"predictions: must be a table of predicted latency: {reason} in '{path}'"
        ) from None
    return Predictions(
        table={
            (row.model, (row.size, row.size), row.precision, row.batch): Predicted(
                ms=row.corrected_ms, uncertainty_ms=row.uncertainty_ms
            )
            for row in rows
        }
    )
