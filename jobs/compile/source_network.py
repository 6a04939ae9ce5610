"""The ONNX network that is compiled: what its file, its sidecar and the options say of it, and whether it runs.

The compiler itself asks little: it accepts networks that contradict themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from bmodel.anchors import Anchors
from bmodel.errors import ModelFileError
from bmodel.infer_spec import infer_from_onnx
from bmodel.model_file import load_spec
from bmodel.onnx_file import OnnxFile, read_onnx
from bmodel.sidecar import ModelSpec, Normalisation, file_sha256, sidecar_path
from jobs.compile.input_shapes import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceNetwork:
    """An ONNX file, and what its shapes do not tell.

    sidecar: what lies beside the file. anchors, class_names: the options', or the sidecar's.
    """

    onnx: OnnxFile
    sha256: str
    sidecar: ModelSpec | None
    anchors: str | Anchors | None
    class_names: tuple[str, ...] | None

    @property
    def path(self) -> Path:
        """The file."""
        return self.onnx.path

    @property
    def normalisation(self) -> Normalisation:
        """How pixels become its input."""
        return self.sidecar.normalisation if self.sidecar else Normalisation()

    @property
    def licence(self) -> str | None:
        """Its weights' licence."""
        return self.sidecar.licence if self.sidecar else None

    def check(self, shape: Shape) -> ModelSpec:
        """Run it once on zeros and describe what comes out as a detector's.

        Raises ModelFileError when ONNX Runtime cannot load or run it or its outputs are none of a detector's,
        ConfigurationError when anchors or class names do not fit.
        """
        outputs = _run(self.path, shape)
        if len(outputs) != len(self.onnx.outputs):
            raise ModelFileError(
                f"'{self.path}' has {len(self.onnx.outputs)} outputs and gave {len(outputs)}"
            )
        closed = replace(
            self.onnx,
            inputs=(replace(self.onnx.inputs[0], shape=shape),),
            outputs=tuple(
                replace(tensor, shape=output)
                for tensor, output in zip(self.onnx.outputs, outputs, strict=True)
            ),
        )
        try:
            return infer_from_onnx(closed, self.sha256, self.anchors, self.class_names, batch=shape[0])
        except ValidationError as error:
            raise ModelFileError(f"{error.errors()[0]['msg']} in '{self.path}'") from error


def read_network(
    path: Path, *, anchors: str | Anchors | None = None, class_names: tuple[str, ...] | None = None
) -> SourceNetwork:
    """Read an ONNX file and its sidecar, if it has one; what is given here is preferred to the sidecar's."""
    onnx = read_onnx(path)
    sidecar = load_spec(path) if sidecar_path(path).is_file() else None
    if anchors is None and sidecar is not None and sidecar.heads:
        finest_first = sorted(sidecar.heads, key=lambda head: head.stride)
        anchors = tuple(head.anchors_wh for head in finest_first)
    if class_names is None and sidecar is not None:
        class_names = sidecar.class_names
    return SourceNetwork(
        onnx=onnx, sha256=file_sha256(path), sidecar=sidecar, anchors=anchors, class_names=class_names
    )


def _run(path: Path, shape: Shape) -> list[tuple[int, ...]]:
    """Return the shapes of all outputs."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        (image,) = session.get_inputs()
        kind = np.float16 if image.type == "tensor(float16)" else np.float32
        outputs = session.run(None, {image.name: np.zeros(shape, kind)})
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own.
        reason = str(error).splitlines()[0]
        raise ModelFileError(
            f"ONNX Runtime cannot run '{path}' with an input of {shape}: {reason}"
        ) from error
    return [tuple(output.shape) for output in outputs]
