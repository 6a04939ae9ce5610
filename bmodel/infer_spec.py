"""Works out a ModelSpec from shapes alone, for a model file without a sidecar."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bmodel.anchors import Anchors, resolve_anchors
from bmodel.container import Container, Stage, Tensor
from bmodel.errors import ConfigurationError, ModelFileError
from bmodel.export_facts import check_task, read_export_facts
from bmodel.layouts import BOX_COLUMNS, STRIDES, LayoutName
from bmodel.onnx_file import OnnxFile, OnnxTensor
from bmodel.recognise import recognise
from bmodel.sidecar import HeadSpec, ModelSpec, Normalisation, Precision, TensorSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Stated:
    """What is known of a network besides its shapes; None where nobody said.

    anchors: `yolov5`, `yolov7`, a file's path, or the anchors themselves.
    class_names: one per class.
    layout: how its outputs are to be read.
    """

    anchors: str | Anchors | None = None
    class_names: tuple[str, ...] | None = None
    layout: LayoutName | None = None


def default_normalisation(layout: LayoutName | None) -> Normalisation:
    """Return what networks of a layout want to see unless their sidecar says otherwise."""
    if layout == "yolox":
        return Normalisation(channels="bgr", scale=(1.0, 1.0, 1.0), placement="top-left")
    return Normalisation()


def infer_from_container(container: Container, file_sha256: str, stated: Stated | None = None) -> ModelSpec:
    """Return the spec of a BModel's only network at its first input shape."""
    stage = container.single_network().stages[0]
    return _infer(
        name=container.path.stem,
        place=str(container.path),
        file_sha256=file_sha256,
        chip=container.chip,
        precision=infer_precision(stage),
        tensors=(tuple(map(tensor_spec, stage.inputs)), tuple(map(tensor_spec, stage.outputs))),
        stated=stated or Stated(),
    )


def infer_from_onnx(
    onnx: OnnxFile, file_sha256: str, stated: Stated | None = None, *, batch: int
) -> ModelSpec:
    """Return the spec of an ONNX file; `batch` is taken where the file leaves the batch open.

    What is not stated comes from the file's metadata, where its exporter wrote any.
    """
    stated = complete(stated or Stated(), onnx)
    inputs = tuple(_close_batch(tensor, batch, onnx) for tensor in onnx.inputs)
    outputs = tuple(_close_batch(tensor, inputs[0].shape[0], onnx) for tensor in onnx.outputs)
    return _infer(
        name=onnx.path.stem,
        place=str(onnx.path),
        file_sha256=file_sha256,
        chip=None,
        precision="fp32",
        tensors=(inputs, outputs),
        stated=stated,
    )


def complete(stated: Stated, onnx: OnnxFile) -> Stated:
    """Add what an ONNX file's metadata says to what is stated; raises ModelFileError for what is no detector."""
    facts = read_export_facts(onnx.metadata, str(onnx.path))
    check_task(facts, str(onnx.path))
    layout = stated.layout or ("end-to-end" if facts.is_end_to_end else None)
    return replace(stated, class_names=stated.class_names or facts.class_names, layout=layout)


def tensor_spec(tensor: Tensor) -> TensorSpec:
    """Return a container's tensor as a spec has it."""
    return TensorSpec(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=tensor.scale,
        zero_point=tensor.zero_point,
    )


def infer_precision(stage: Stage) -> Precision:
    """Tell INT8 from FP32: the header does not say, but quantised inputs and outputs do.

    Where an INT8 network keeps float inputs and outputs, the compiler puts `_f32` behind every output's name.
    """
    tensors = (*stage.inputs, *stage.outputs)
    is_int8 = any(tensor.dtype != "float32" for tensor in tensors)
    has_casts = all(tensor.name.endswith("_f32") for tensor in stage.outputs)
    return "int8" if is_int8 or has_casts else "fp32"


def placeholder_names(count: int) -> tuple[str, ...]:
    """Return the names of classes that nobody named: class0, class1, …."""
    return tuple(f"class{index}" for index in range(count))


def check_class_names(class_names: tuple[str, ...], count: int, place: str) -> tuple[str, ...]:
    """Raise ConfigurationError unless there is one name a class."""
    if len(class_names) != count:
        raise ConfigurationError(
            f"class names: the network has {count} classes, got {len(class_names)} names for '{place}'"
        )
    return class_names


def _close_batch(tensor: OnnxTensor, batch: int, onnx: OnnxFile) -> TensorSpec:
    first, *rest = tensor.shape or (None,)
    if None in rest or not rest:
        raise ModelFileError(
            f"the shape of '{tensor.name}' must be fixed but for the batch, got {tensor.shape} in '{onnx.path}': "
            "export it with a fixed size or write a sidecar"
        )
    shape = (first or batch, *(size for size in rest if size is not None))
    return TensorSpec(name=tensor.name, shape=shape, dtype=tensor.dtype)


def _infer(
    *,
    name: str,
    place: str,
    file_sha256: str,
    chip: str | None,
    precision: Precision,
    tensors: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]],
    stated: Stated,
) -> ModelSpec:
    image, outputs = _detector_input(tensors[0], place), tensors[1]
    input_hw = (image.shape[2], image.shape[3])
    names = stated.class_names
    layout, count = recognise(
        input_hw,
        [output.shape for output in outputs],
        layout=stated.layout,
        classes=None if names is None else len(names),
        place=place,
    )
    has_heads = layout in {"heads", "planes"}
    return ModelSpec(
        name=name,
        file_sha256=file_sha256,
        chip=chip,
        precision=precision,
        input=image,
        outputs=outputs,
        layout=layout,
        heads=infer_heads(image, outputs, stated.anchors, place, classes=count) if has_heads else (),
        class_names=placeholder_names(count) if names is None else names,
        normalisation=default_normalisation(layout),
    )


def _detector_input(inputs: tuple[TensorSpec, ...], place: str) -> TensorSpec:
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3:
        raise ModelFileError(
            f"a detector has one input (N, 3, H, W), got {[tensor.shape for tensor in inputs]} in '{place}'"
        )
    return inputs[0]


def infer_heads(
    image: TensorSpec,
    outputs: tuple[TensorSpec, ...],
    anchors: str | Anchors | None,
    place: str,
    *,
    classes: int,
) -> tuple[HeadSpec, ...]:
    """Return the heads from fine to coarse: an output's stride is the input's size over its own, in both axes."""
    strides: dict[int, int] = {}
    _, _, height, width = image.shape
    for position, output in enumerate(outputs):
        rows, columns = output.shape[2:4]
        fitting = [
            stride for stride in STRIDES[len(outputs)] if (rows * stride, columns * stride) == (height, width)
        ]
        if len(fitting) != 1 or fitting[0] in strides:
            raise ModelFileError(
                f"output '{output.name}' {output.shape} must be the only one at a stride of "
                f"{STRIDES[len(outputs)]} of the input {image.shape} in '{place}'"
            )
        strides[fitting[0]] = position
    levels = resolve_anchors(anchors, len(outputs), place=place)
    heads = []
    for (stride, position), anchors_wh in zip(sorted(strides.items()), levels, strict=True):
        shape = outputs[position].shape
        own = shape[1] if len(shape) == 5 else shape[1] // (BOX_COLUMNS + classes)
        if own != len(anchors_wh):
            raise ConfigurationError(
                f"anchors: the head of stride {stride} has {own} anchors, got {len(anchors_wh)} for '{place}'"
            )
        heads.append(HeadSpec(output=position, stride=stride, anchors_wh=anchors_wh))
    return tuple(heads)
