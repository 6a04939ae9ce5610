"""ModelSpec: what a detector needs to know about a network, and the JSON file beside the model that carries it.

The sidecar of `x.bmodel` is `x.bmodel.spec.json`, that of `x.onnx` is `x.onnx.spec.json` (the compiler itself
writes `x.bmodel.json`, so that name is taken). Fields that describe the file are checked against the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError, model_validator

from bmodel.errors import ModelFileError
from bmodel.files import write_whole
from bmodel.layouts import BOX_COLUMNS, LayoutName, class_counts, classes_first
from bmodel.validation import ExactModel, first_fault

SCHEMA_VERSION: Final = 1
SIDECAR_SUFFIX: Final = ".spec.json"
MODEL_SUFFIXES: Final = (".bmodel", ".onnx")

Precision = Literal["fp32", "int8", "mixed"]
Placement = Literal["centre", "top-left", "stretch"]
DType = Literal["float32", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32"]


class TensorSpec(ExactModel):
    """An input or output of the network as the file names it.

    A quantised value q stands for the real value (q - zero_point) * scale on outputs; on inputs
    q = round(x * scale + zero_point), as the vendor's runtime defines the two.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType = "float32"
    scale: float = 1.0
    zero_point: int = 0


class HeadSpec(ExactModel):
    """A raw detection head: which output it is, its stride in input pixels, its anchors (w, h) in input pixels."""

    output: int = Field(ge=0, description="position in ModelSpec.outputs")
    stride: int = Field(gt=0)
    anchors_wh: tuple[tuple[float, float], ...] = Field(min_length=1)


class Normalisation(ExactModel):
    """How an image becomes the network's input: placed in it, then (pixel - mean) * scale per channel.

    mean and scale follow the order of `channels`.
    """

    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1 / 255, 1 / 255, 1 / 255)
    padding: int = Field(default=114, ge=0, le=255, description="grey value of the letterbox's border")
    placement: Placement = Field(
        default="centre",
        description="where the image lies in the input: scaled in its own proportions, with the border around it "
        "(centre) or to its right and below (top-left), or stretched to fill the input",
    )


class PredictedLatency(ExactModel):
    """The chip's time according to the compiler's schedule; ms per launch (the whole batch), not per image."""

    raw_ms: float = Field(gt=0, description="the schedule's own figure")
    corrected_ms: float = Field(
        gt=0, description="raw_ms divided by the documented ratio to published measurements"
    )
    uncertainty_ms: float = Field(ge=0, description="one standard deviation of the correction")
    note: str = ""


class Verification(ExactModel):
    """How the compiled network compared with its ONNX twin on the simulator, one value per head."""

    images: int = Field(ge=1)
    cosine: tuple[float, ...]
    max_abs_difference: tuple[float, ...]
    passed: bool


class ModelSpec(ExactModel):
    """A network as a detector sees it: shapes, heads, classes, normalisation, and where it came from."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    file_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    chip: str | None = Field(default=None, description="BM1684 for a BModel, null for an ONNX file")
    precision: Precision = "fp32"
    input: TensorSpec
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    layout: LayoutName
    heads: tuple[HeadSpec, ...] = Field(default=(), description="empty if the network decodes its own boxes")
    class_names: tuple[str, ...] = Field(min_length=1)
    normalisation: Normalisation = Normalisation()
    source_name: str | None = Field(default=None, description="the ONNX twin, a path relative to the sidecar")
    source_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    latency: PredictedLatency | None = None
    verification: Verification | None = None
    tools: dict[str, str] = Field(default_factory=dict)
    licence: str | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> ModelSpec:
        if len(self.input.shape) != 4 or self.input.shape[1] != 3 or min(self.input.shape) < 1:
            raise ValueError(f"input shape must be (N, 3, H, W), got {self.input.shape}")
        if self.layout in {"heads", "planes"}:
            self._check_heads()
        else:
            self._check_flat()
        return self

    def _check_heads(self) -> None:
        if not self.heads:
            raise ValueError(f"layout '{self.layout}' needs at least one entry in heads")
        if sorted(head.output for head in self.heads) != list(range(len(self.outputs))):
            raise ValueError("every output must belong to exactly one head")
        for head in self.heads:
            anchors, columns = len(head.anchors_wh), BOX_COLUMNS + len(self.class_names)
            cells = (self.input_hw[0] // head.stride, self.input_hw[1] // head.stride)
            is_planes = self.layout == "planes"
            expected = (
                (self.batch, anchors * columns, *cells)
                if is_planes
                else (self.batch, anchors, *cells, columns)
            )
            shape = self.outputs[head.output].shape
            if shape != expected:
                raise ValueError(f"head of stride {head.stride} must have shape {expected}, got {shape}")

    def _check_flat(self) -> None:
        if self.heads or len(self.outputs) != 1:
            raise ValueError(f"layout '{self.layout}' has exactly one output and no heads")
        shape, classes = self.outputs[0].shape, len(self.class_names)
        counts = class_counts(self.layout, self.input_hw, [shape])
        if shape[:1] != (self.batch,) or classes not in counts:
            raise ValueError(
                f"layout '{self.layout}' with {classes} classes must have an output of shape "
                f"{self._flat_shape(classes)}, got {shape}"
            )
        if self.layout == "anchor-free" and len(set(shape[1:])) == 1:
            raise ValueError(f"boxes and columns cannot be told apart in an output of shape {shape}")

    def _flat_shape(self, classes: int) -> str:
        """The shapes that a layout of one output may have, in words."""
        boxes = "cells" if self.layout in {"anchor-free", "yolox"} else "boxes"
        if self.layout == "anchor-free":
            return f"({self.batch}, {4 + classes}, {boxes}) or ({self.batch}, {boxes}, {4 + classes})"
        return f"({self.batch}, {boxes}, {6 if self.layout == 'end-to-end' else BOX_COLUMNS + classes})"

    @property
    def batch(self) -> int:
        """Images in one launch."""
        return self.input.shape[0]

    @property
    def has_classes_first(self) -> bool:
        """Whether an anchor-free output is (N, 4 + classes, boxes), or else (N, boxes, 4 + classes)."""
        return classes_first(self.input_hw, self.outputs[0].shape, len(self.class_names))

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the input, pixels."""
        return self.input.shape[2], self.input.shape[3]

    @property
    def predicted_image_ms(self) -> float | None:
        """The compiler's prediction per image: the corrected figure over the batch; None without a schedule."""
        return None if self.latency is None else self.latency.corrected_ms / self.batch


def sidecar_path(model_path: Path) -> Path:
    """Where the sidecar of a model file is: `x.bmodel` → `x.bmodel.spec.json`."""
    return model_path.with_name(model_path.name + SIDECAR_SUFFIX)


def model_path_of(sidecar: Path) -> Path:
    """Where the model file of a sidecar is: `x.bmodel.spec.json` → `x.bmodel`; other paths as they are."""
    return sidecar.with_name(sidecar.name.removesuffix(SIDECAR_SUFFIX))


def read_sidecar(path: Path) -> ModelSpec:
    """Read a sidecar; raises ModelFileError naming the field, the rule and the file."""
    try:
        return ModelSpec.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"cannot read the sidecar '{path}': {error.strerror}") from error
    except ValidationError as error:
        raise ModelFileError(f"{first_fault(error, whole='the file as a whole')} in '{path}'") from error


def write_sidecar(spec: ModelSpec, model_path: Path) -> Path:
    """Write the sidecar beside its model, complete or not at all; returns its path."""
    path = sidecar_path(model_path)
    write_whole(path, spec.model_dump_json(indent=2) + "\n")
    return path
