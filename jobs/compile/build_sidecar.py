"""The sidecar of a freshly compiled BModel: what its ONNX twin says of it, what it cost, how well it agrees."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bmodel.build import Build, latency_path
from bmodel.container import read_container
from bmodel.infer_spec import infer_from_container
from bmodel.model_file import CHIP
from bmodel.sidecar import ModelSpec, Verification, write_sidecar
from jobs.compile.source_network import SourceNetwork


def describe_build(build: Build, source: SourceNetwork) -> ModelSpec:
    """Describe a build by its own shapes, and by what is known of the network that it was made of."""
    container = read_container(build.bmodel, chip=CHIP)
    spec = infer_from_container(container, build.record.bmodel_sha256, source.anchors, source.class_names)
    tools = {"tpu_mlir": build.record.tpu_mlir}
    if build.record.calibration:
        tools["calibration"] = build.record.calibration
    return spec.model_copy(
        update={
            "name": build.record.name,
            "precision": build.record.precision,
            "normalisation": build.record.normalisation,
            "source_name": _relative(source.path, build.bmodel),
            "source_sha256": build.record.source_sha256,
            "latency": build.latency().prediction,
            "tools": tools,
            "licence": source.licence,
        }
    )


def with_verification(spec: ModelSpec, verification: Verification) -> ModelSpec:
    """Add how the network compared with its twin."""
    import onnxruntime

    tools = spec.tools | {"onnxruntime": onnxruntime.__version__}
    return spec.model_copy(update={"verification": verification, "tools": tools})


def copy_with_sidecar(bmodel: Path, spec: ModelSpec, onnx: Path, folder: Path) -> Path:
    """Copy a BModel into a folder, whole or not at all, with its latency report and a sidecar that finds the twin."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / bmodel.name
    temporary = folder / f".{bmodel.name}.tmp"
    try:
        shutil.copyfile(bmodel, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    shutil.copyfile(latency_path(bmodel), latency_path(target))
    write_sidecar(spec.model_copy(update={"source_name": _relative(onnx, target)}), target)
    return target


def _relative(onnx: Path, bmodel: Path) -> str:
    return os.path.relpath(onnx.absolute(), bmodel.parent.absolute())
