"""Specs of networks small enough for a test to look at every anchor."""

from __future__ import annotations

from bmodel.infer_spec import default_normalisation
from bmodel.layouts import LayoutName, cell_count
from bmodel.sidecar import HeadSpec, ModelSpec, TensorSpec

_SHA256 = "0" * 64
_ANCHORS_WH = ((8.0, 10.0), (16.0, 9.0), (12.0, 30.0))


def head_spec(
    *, levels: int = 3, batch: int = 1, classes: int = 3, input_hw: tuple[int, int] = (64, 128)
) -> ModelSpec:
    """A network with raw heads of strides 8, 16, 32 (and 64); heads in reverse order of their strides."""
    strides = [8 * 2**level for level in range(levels)]
    outputs = tuple(
        TensorSpec(
            name=f"stride{stride}",
            shape=(batch, 3, input_hw[0] // stride, input_hw[1] // stride, 5 + classes),
        )
        for stride in reversed(strides)
    )
    heads = tuple(
        HeadSpec(
            output=levels - 1 - level,
            stride=stride,
            anchors_wh=tuple((w * 2**level, h * 2**level) for w, h in _ANCHORS_WH),
        )
        for level, stride in enumerate(strides)
    )
    return ModelSpec(
        name=f"heads{levels}",
        file_sha256=_SHA256,
        input=TensorSpec(name="images", shape=(batch, 3, *input_hw)),
        outputs=outputs,
        layout="heads",
        heads=heads,
        class_names=tuple(f"class{number}" for number in range(classes)),
    )


def decoded_spec(*, batch: int = 1, classes: int = 3, boxes: int = 200) -> ModelSpec:
    """A network that decodes by itself: one output of boxes."""
    return ModelSpec(
        name="decoded",
        file_sha256=_SHA256,
        input=TensorSpec(name="images", shape=(batch, 3, 64, 96)),
        outputs=(TensorSpec(name="boxes", shape=(batch, boxes, 5 + classes)),),
        layout="decoded",
        class_names=tuple(f"class{number}" for number in range(classes)),
    )


def plane_spec(**options: int) -> ModelSpec:
    """The network of `head_spec` without the last permute."""
    spec = head_spec(**options)  # type: ignore[arg-type]
    outputs = tuple(
        output.model_copy(update={"shape": (n, anchors * columns, rows, cells)})
        for output in spec.outputs
        for n, anchors, rows, cells, columns in [output.shape]
    )
    return ModelSpec.model_validate(spec.model_dump() | {"outputs": outputs, "layout": "planes"})


def flat_spec(
    layout: LayoutName,
    *,
    batch: int = 1,
    classes: int = 3,
    input_hw: tuple[int, int] = (64, 96),
    classes_first: bool = True,
) -> ModelSpec:
    """A network with one output: of the cells of strides 8, 16, 32, or of 50 final boxes."""
    cells = cell_count(input_hw, (8, 16, 32)) or 0
    columns = {"anchor-free": 4 + classes, "yolox": 5 + classes, "decoded": 5 + classes, "end-to-end": 6}[
        layout
    ]
    shape = (50 if layout == "end-to-end" else cells, columns)
    if layout == "anchor-free" and classes_first:
        shape = (columns, cells)
    return ModelSpec(
        name=layout,
        file_sha256=_SHA256,
        input=TensorSpec(name="images", shape=(batch, 3, *input_hw)),
        outputs=(TensorSpec(name="output0", shape=(batch, *shape)),),
        layout=layout,
        class_names=tuple(f"class{number}" for number in range(classes)),
        normalisation=default_normalisation(layout),
    )
