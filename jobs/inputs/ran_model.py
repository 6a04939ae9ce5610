"""The model file that really ran, as run.json and metrics.json name it."""

from __future__ import annotations

from bmodel.sidecar import ModelSpec, Precision
from bmodel.validation import FrozenModel


class ModelMetrics(FrozenModel):
    """The file that really ran: for device cpu that is the ONNX twin of a BModel."""

    name: str
    sha256: str
    precision: Precision
    input_hw: tuple[int, int]
    batch: int
    classes: int


def model_metrics(spec: ModelSpec, *, name: str, sha256: str) -> ModelMetrics:
    """The model block for the file that ran."""
    return ModelMetrics(
        name=name,
        sha256=sha256,
        precision=spec.precision,
        input_hw=spec.input_hw,
        batch=spec.batch,
        classes=len(spec.class_names),
    )
