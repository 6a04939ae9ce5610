"""Specs: from a sidecar that must fit its file, or from shapes alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bmodel.anchors import named_anchors, read_anchors, resolve_anchors
from bmodel.errors import ConfigurationError, ModelFileError
from bmodel.infer_spec import Stated, infer_from_onnx
from bmodel.model_file import has_class_names, load_spec, twin_path
from bmodel.onnx_file import OnnxFile, OnnxTensor, read_onnx
from bmodel.sidecar import ModelSpec, sidecar_path
from tests.helpers.paths import ROOT

MODELS = sorted((ROOT / "bmodel").glob("tiny_*.bmodel"))
FP32 = ROOT / "bmodel/tiny_fp32_1b.bmodel"
# The committed sidecars state the network's own anchors.
ANCHORS = (
    ((6.0, 6.0), (10.0, 8.0), (8.0, 14.0)),
    ((16.0, 12.0), (14.0, 24.0), (28.0, 18.0)),
    ((36.0, 30.0), (30.0, 52.0), (72.0, 48.0)),
)


def onnx(*outputs: tuple[int | None, ...], image: tuple[int | None, ...] = (1, 3, 64, 96)) -> OnnxFile:
    return OnnxFile(
        path=Path("made_up.onnx"),
        inputs=(OnnxTensor(name="images", shape=image, dtype="float32"),),
        outputs=tuple(
            OnnxTensor(name=f"out{place}", shape=shape, dtype="float32")
            for place, shape in enumerate(outputs)
        ),
    )


def infer(*outputs: tuple[int | None, ...], image: tuple[int | None, ...] = (1, 3, 64, 96)) -> ModelSpec:
    return infer_from_onnx(onnx(*outputs, image=image), "0" * 64, Stated(anchors="yolov7"), batch=1)


def test_there_are_committed_models() -> None:
    assert len(MODELS) == 5


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_committed_sidecars_fit_and_shapes_tell_the_same(path: Path, tmp_path: Path) -> None:
    stated = load_spec(path)
    alone = Path(shutil.copy(path, tmp_path))
    inferred = load_spec(alone, anchors=ANCHORS, class_names=("car", "person", "bike"))
    assert inferred.model_dump(include={"input", "outputs", "heads", "class_names", "precision", "chip"}) == (
        stated.model_dump(include={"input", "outputs", "heads", "class_names", "precision", "chip"})
    )
    twin = twin_path(path, stated)
    assert twin is not None
    assert twin.is_file()
    assert twin_path(alone, inferred) is None


def test_unnamed_classes_are_placeholders_and_say_so(tmp_path: Path) -> None:
    spec = load_spec(Path(shutil.copy(FP32, tmp_path)), anchors="yolov7")
    assert spec.class_names == ("class0", "class1", "class2")
    assert not has_class_names(spec)
    assert has_class_names(load_spec(FP32))
    assert spec.heads[0].anchors_wh == named_anchors("yolov7", 3)[0]


def test_options_go_before_the_sidecar() -> None:
    spec = load_spec(FP32, anchors="yolov5", class_names=("a", "b", "c"))
    assert spec.class_names == ("a", "b", "c")
    assert [head.anchors_wh for head in spec.heads] == list(named_anchors("yolov5", 3))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("file_sha256", "0" * 64, "file_sha256: must be the model's"),
        ("chip", None, "chip: must be the model's, BM1684"),
        ("input.name", "image", "input.name: must be the model's, images, got image"),
        ("input.dtype", "uint8", "input.dtype: must be the model's, float32, got uint8"),
        ("outputs.1.scale", 0.5, "outputs.1.scale: must be the model's, 1.0, got 0.5"),
        ("outputs.2.zero_point", 3, "outputs.2.zero_point: must be the model's, 0, got 3"),
        ("outputs.0.shape", [1, 3, 8, 12], "heads|must have shape"),
        ("layout", "boxes", "layout"),
        ("colour", "red", "colour"),
    ],
)
def test_a_sidecar_that_does_not_fit_is_refused(
    tmp_path: Path, field: str, value: object, message: str
) -> None:
    path = Path(shutil.copy(FP32, tmp_path))
    content = json.loads(sidecar_path(FP32).read_text())
    part: Any = content
    *parents, last = field.split(".")
    for key in parents:
        part = part[int(key)] if key.isdigit() else part[key]
    part[last] = value
    sidecar_path(path).write_text(json.dumps(content))
    with pytest.raises(ModelFileError, match=message) as caught:
        load_spec(path)
    assert str(sidecar_path(path)) in str(caught.value)


def test_real_onnx_and_bmodel_tell_the_same_network(photographs: Path) -> None:
    specs = [
        load_spec(photographs / name, anchors="yolov5")
        for name in ("yolov5n_3output_320_1b.onnx", "yolov5n_3output_320_fp32_1b_bm1684.bmodel")
    ]
    assert [head.stride for head in specs[0].heads] == [8, 16, 32]
    assert specs[0].heads == specs[1].heads
    assert [output.shape for output in specs[0].outputs] == [output.shape for output in specs[1].outputs]
    assert (specs[0].chip, specs[1].chip) == (None, "BM1684")


def test_heads_are_ordered_by_shape_not_by_place() -> None:
    spec = infer((1, 3, 2, 3, 8), (1, 3, 8, 12, 8), (1, 3, 4, 6, 8))
    assert [(head.stride, head.output) for head in spec.heads] == [(8, 1), (16, 2), (32, 0)]


def test_anchors_that_cannot_be_known_are_asked_for(tmp_path: Path) -> None:
    alone = Path(shutil.copy(FP32, tmp_path))
    with pytest.raises(ConfigurationError, match=r"YOLOv5 and YOLOv7 look alike.*--anchors.*tiny_fp32_1b"):
        load_spec(alone)


def test_four_levels_take_the_large_models_anchors_which_both_families_share() -> None:
    heads = [(1, 3, 1280 // stride, 1280 // stride, 8) for stride in (8, 16, 32, 64)]
    spec = infer_from_onnx(onnx(*heads, image=(1, 3, 1280, 1280)), "0" * 64, batch=1)
    assert [head.stride for head in spec.heads] == [8, 16, 32, 64]
    assert spec.heads[3].anchors_wh == ((436, 615), (739, 380), (925, 792))


def test_one_flat_output_is_decoded() -> None:
    spec = infer((1, 378, 8))
    assert (spec.layout, spec.heads, len(spec.class_names)) == ("decoded", (), 3)


def test_an_open_batch_is_closed_by_the_option() -> None:
    heads: list[tuple[int | None, ...]] = [(None, 3, 8, 12, 8), (None, 3, 4, 6, 8), (None, 3, 2, 3, 8)]
    file = onnx(*heads, image=(None, 3, 64, 96))
    spec = infer_from_onnx(file, "0" * 64, Stated(anchors="yolov7"), batch=4)
    assert spec.input.shape == (4, 3, 64, 96)
    assert {output.shape[0] for output in spec.outputs} == {4}


@pytest.mark.parametrize(
    ("outputs", "image", "message"),
    [
        ([(1, 116, 8400), (1, 32, 160, 160)], (1, 3, 640, 640), "look like a segmentation network's"),
        ([(1, 300, 84)], (1, 3, 640, 640), "look like query heads"),
        ([(1, 255, 80, 80), (1, 255, 40, 40)], (1, 3, 640, 640), "3 or 4 raw heads"),
        ([(1, 378, 8), (1, 3, 8, 12, 8)], (1, 3, 64, 96), "3 or 4 raw heads"),
        ([(1, 378, 5)], (1, 3, 64, 96), "look like query heads"),
        ([(1, 3, 8, 12, 8), (1, 3, 8, 12, 8), (1, 3, 2, 3, 8)], (1, 3, 64, 96), "the only one at a stride"),
        ([(1, 3, 8, 12, 8), (1, 3, 4, 6, 9), (1, 3, 2, 3, 8)], (1, 3, 64, 96), "must be those of a layout"),
        ([(1, 378, 8)], (1, 64, 96, 3), "one input \\(N, 3, H, W\\)"),
        ([(1, None, 8)], (1, 3, None, None), "must be fixed but for the batch"),
        ([()], (1, 3, 64, 96), "must be fixed but for the batch"),
    ],
)
def test_other_networks_are_refused(
    outputs: list[tuple[int | None, ...]], image: tuple[int | None, ...], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        infer(*outputs, image=image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ("one",)}, "the network has 3 classes, got 1 names"),
        ({"anchors": "yolov3"}, "cannot read 'yolov3'"),
        ({"anchors": ANCHORS[:2]}, "the network has 3 levels, got 2"),
        ({"anchors": tuple(level[:2] for level in ANCHORS)}, "has 3 anchors, got 2"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_spec(FP32, **options)


def test_a_model_must_be_there_and_of_a_known_kind(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no file"):
        load_spec(tmp_path / "x.bmodel")
    with pytest.raises(ConfigurationError, match=r"must be a .bmodel or .onnx file"):
        load_spec(tmp_path / "x.pt")


def test_anchor_files(tmp_path: Path) -> None:
    path = tmp_path / "anchors.txt"
    path.write_text("6,6 10,8 8,14\n\n16,12 14,24 28,18\n36,30 30,52 72,48\n")
    assert read_anchors(path) == ANCHORS == resolve_anchors(str(path), 3)
    for text, message in (
        ("6,6 10,8\n16,12\n", "same number of pairs"),
        ("", "same number of pairs"),
        ("6,6 10\n", "must be 'width,height' pairs, got '10'"),
        ("6,-6\n", "must be positive"),
        ("6,nan\n", "must be positive"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=message):
            read_anchors(path)


def test_onnx_interfaces_equal_the_reference_library(photographs: Path) -> None:
    import onnxruntime

    for path in (ROOT / "models/tiny.onnx", photographs / "yolov5n_3output_320_1b.onnx"):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        file = read_onnx(path)
        for ours, theirs in (
            (file.inputs, session.get_inputs()),
            (file.outputs, session.get_outputs()),
        ):
            expected = [(t.name, tuple(d if isinstance(d, int) else None for d in t.shape)) for t in theirs]
            assert [(tensor.name, tensor.shape) for tensor in ours] == expected
