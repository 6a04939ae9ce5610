"""The network's time on a card: what its sidecar or the family's table predicts, or a figure that is given."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bmodel.errors import ConfigurationError
from bmodel.model_file import load_spec
from bmodel.sidecar import SIDECAR_SUFFIX, ModelSpec, Precision, read_sidecar
from jobs.path_kind import why_not_a_file
from jobs.plan.values import CardTime
from jobs.sweep.predictions import read_predictions

PREDICTIONS: Final = Path("docs/results/latency.json")


def card_time_of_file(path: Path) -> tuple[CardTime, ModelSpec]:
    """The prediction in a BModel's sidecar; name either. Raises ConfigurationError without one."""
    spec = spec_of_file(path)
    if spec.latency is None:
        raise ConfigurationError(
            f"--model: has no predicted latency, so give the card's time by --i-time, in '{path}'"
        )
    return (
        CardTime(
            image_ms=spec.latency.corrected_ms / spec.batch,
            uncertainty_ms=spec.latency.uncertainty_ms / spec.batch,
            batch=spec.batch,
            network=spec.name,
            input_hw=spec.input_hw,
            precision=spec.precision,
            source="predicted by the compiler's schedule",
        ),
        spec,
    )


def spec_of_file(path: Path) -> ModelSpec:
    """A network's description, from its file with its sidecar, or from the sidecar alone."""
    if reason := why_not_a_file(path):
        raise ConfigurationError(
            f"--model: must be a model file, its sidecar or a name of the table, and '{path}' {reason}"
        )
    if path.name.endswith(SIDECAR_SUFFIX):
        return read_sidecar(path)
    if path.suffix.lower() not in {".bmodel", ".onnx"}:
        raise ConfigurationError(f"--model: must end in .bmodel, .onnx or {SIDECAR_SUFFIX}, got '{path}'")
    return load_spec(path)


def card_time_of_table(
    name: str, *, size: int, precision: Precision, batch: int, table: Path = PREDICTIONS
) -> CardTime:
    """The prediction for a network of the family; raises ConfigurationError with what the table has."""
    predictions = read_predictions(table).table
    found = predictions.get((name, (size, size), precision, batch))
    if found is None:
        known = sorted({f"{model} {hw[0]} {kind} {number}b" for model, hw, kind, number in predictions})
        told = ", ".join(known) if known else f"nothing, since '{table}' is not there"
        raise ConfigurationError(
            f"--model: '{name} {size} {precision} {batch}b' is no file and not in the table, which has {told}"
        )
    return CardTime(
        image_ms=found.ms,
        uncertainty_ms=found.uncertainty_ms,
        batch=batch,
        network=name,
        input_hw=(size, size),
        precision=precision,
        source="predicted by the compiler's schedule",
    )
