"""Loads the ModelSpec of a model file: its sidecar, checked against the file, or what metadata and shapes say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bmodel.anchors import Anchors
from bmodel.container import Container, Stage, read_container
from bmodel.errors import ConfigurationError, ModelFileError
from bmodel.files import file_sha256
from bmodel.infer_spec import (
    Stated,
    check_class_names,
    infer_from_container,
    infer_from_onnx,
    infer_heads,
    placeholder_names,
    tensor_spec,
)
from bmodel.layouts import LayoutName
from bmodel.onnx_file import OnnxFile, read_onnx
from bmodel.sidecar import MODEL_SUFFIXES, ModelSpec, TensorSpec, read_sidecar, sidecar_path
from bmodel.validation import first_fault

CHIP: Final = "BM1684"


def load_spec(
    path: Path,
    *,
    anchors: str | Anchors | None = None,
    class_names: tuple[str, ...] | None = None,
    layout: LayoutName | None = None,
    batch: int = 1,
) -> ModelSpec:
    """Load the spec of a `.bmodel` or `.onnx` file.

    anchors: `yolov7`, `yolov5`, an anchor file's path, or the anchors themselves; None keeps the sidecar's.
    class_names: one per class; None keeps the sidecar's or the ONNX metadata's, or makes placeholders
        (`has_class_names` says which).
    layout: how the outputs are read; None keeps the sidecar's, or goes by metadata and shapes.
    batch: images per launch, where an ONNX file without a sidecar leaves it open.

    Raises ModelFileError for a damaged or inconsistent file and for what is no detector; ConfigurationError for
    options that do not fit the file, and for those that it cannot do without.
    """
    suffix = path.suffix.lower()
    if suffix not in MODEL_SUFFIXES:
        raise ConfigurationError(f"model: must be a .bmodel or .onnx file, got '{path}'")
    if not path.is_file():
        raise ConfigurationError(f"model: there is no file '{path}'")
    model = read_container(path, chip=CHIP) if suffix == ".bmodel" else read_onnx(path)
    sha256 = file_sha256(path)
    sidecar = sidecar_path(path)
    if sidecar.is_file():
        spec = read_sidecar(sidecar)
        check_spec(spec, model, sha256, sidecar)
        return _override(spec, Stated(anchors=anchors, class_names=class_names, layout=layout), path)
    stated = Stated(anchors=anchors, class_names=class_names, layout=layout)
    try:
        if isinstance(model, Container):
            return infer_from_container(model, sha256, stated)
        return infer_from_onnx(model, sha256, stated, batch=batch)
    except ValidationError as error:
        raise ModelFileError(f"{first_fault(error)} in '{path}'") from error


def has_class_names(spec: ModelSpec) -> bool:
    """Whether anybody named the classes, or they are placeholders."""
    return spec.class_names != placeholder_names(len(spec.class_names))


def twin_path(model_path: Path, spec: ModelSpec) -> Path | None:
    """Where the ONNX twin of a model lies; the file itself for an ONNX file, None when no sidecar names one."""
    if model_path.suffix.lower() == ".onnx":
        return model_path
    return None if spec.source_name is None else model_path.parent / spec.source_name


def matching_stage(container: Container, spec: ModelSpec) -> Stage:
    """Return the stage of a BModel's only network whose input has the spec's shape."""
    for stage in container.single_network().stages:
        if len(stage.inputs) == 1 and stage.inputs[0].shape == spec.input.shape:
            return stage
    raise ModelFileError(f"input: no stage has the shape {spec.input.shape} in '{container.path}'")


def check_spec(spec: ModelSpec, model: Container | OnnxFile, sha256: str, place: Path) -> None:
    """Raise ModelFileError, naming `place`, unless a spec describes this very file."""
    if spec.file_sha256 != sha256:
        raise ModelFileError(
            f"file_sha256: must be the model's, {sha256}, got {spec.file_sha256} in '{place}'"
        )
    if isinstance(model, OnnxFile):
        _check_onnx(spec, model, place)
        return
    if spec.chip != model.chip:
        raise ModelFileError(f"chip: must be the model's, {model.chip}, got {spec.chip} in '{place}'")
    stage = matching_stage(model, spec)
    _check_tensor("input", spec.input, tensor_spec(stage.inputs[0]), place)
    if len(spec.outputs) != len(stage.outputs):
        raise ModelFileError(f"outputs: must be {len(stage.outputs)}, got {len(spec.outputs)} in '{place}'")
    for index, (output, tensor) in enumerate(zip(spec.outputs, stage.outputs, strict=True)):
        _check_tensor(f"outputs.{index}", output, tensor_spec(tensor), place)


def _check_tensor(field: str, stated: TensorSpec, found: TensorSpec, place: Path) -> None:
    for name in ("name", "shape", "dtype", "zero_point"):
        if getattr(stated, name) != getattr(found, name):
            raise ModelFileError(
                f"{field}.{name}: must be the model's, {getattr(found, name)}, got {getattr(stated, name)} in '{place}'"
            )
    # The file stores 32-bit scales, JSON prints them in decimal.
    if not math.isclose(stated.scale, found.scale, rel_tol=1e-6):
        raise ModelFileError(
            f"{field}.scale: must be the model's, {found.scale}, got {stated.scale} in '{place}'"
        )


def _check_onnx(spec: ModelSpec, onnx: OnnxFile, place: Path) -> None:
    tensors = {tensor.name: tensor for tensor in (*onnx.inputs, *onnx.outputs)}
    if len(onnx.inputs) != 1 or len(onnx.outputs) != len(spec.outputs):
        raise ModelFileError(
            f"must describe {len(onnx.inputs)} inputs and {len(onnx.outputs)} outputs, got 1 and {len(spec.outputs)} "
            f"in '{place}'"
        )
    for stated in (spec.input, *spec.outputs):
        tensor = tensors.get(stated.name)
        if tensor is None:
            raise ModelFileError(f"'{stated.name}' must be one of the model's {sorted(tensors)} in '{place}'")
        fits = len(tensor.shape) == len(stated.shape) and all(
            size in {None, own} for size, own in zip(tensor.shape, stated.shape, strict=True)
        )
        if not fits or tensor.dtype != stated.dtype:
            raise ModelFileError(
                f"'{stated.name}' must be {tensor.dtype} {tensor.shape}, got {stated.dtype} {stated.shape} in '{place}'"
            )


def _override(spec: ModelSpec, stated: Stated, path: Path) -> ModelSpec:
    """Apply the options that were given on top of a sidecar."""
    changes: dict[str, object] = {}
    count = len(spec.class_names)
    if stated.layout not in {None, spec.layout}:
        raise ConfigurationError(
            f"layout: the sidecar of '{path}' says {spec.layout}, got {stated.layout}; correct the sidecar if it is wrong"
        )
    if stated.class_names is not None:
        changes["class_names"] = check_class_names(stated.class_names, count, str(path))
    if stated.anchors is not None and spec.heads:
        changes["heads"] = infer_heads(spec.input, spec.outputs, stated.anchors, str(path), classes=count)
    return spec.model_copy(update=changes)
