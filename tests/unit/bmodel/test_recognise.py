"""Which layout a network's outputs have, and what is asked for where several fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bmodel.errors import ConfigurationError, ModelFileError
from bmodel.export_facts import MOST_CHARACTERS, read_export_facts
from bmodel.infer_spec import Stated, infer_from_onnx
from bmodel.layouts import LayoutName, parse_layout
from bmodel.onnx_file import OnnxFile, OnnxTensor
from bmodel.sidecar import ModelSpec, Normalisation

NAMES_80 = tuple(f"thing{number}" for number in range(80))


def infer(
    *outputs: tuple[int, ...], size: int = 640, metadata: dict[str, str] | None = None, **stated: Any
) -> ModelSpec:
    onnx = OnnxFile(
        path=Path("made_up.onnx"),
        inputs=(OnnxTensor(name="images", shape=(1, 3, size, size), dtype="float32"),),
        outputs=tuple(
            OnnxTensor(name=f"o{n}", shape=shape, dtype="float32") for n, shape in enumerate(outputs)
        ),
        metadata=metadata or {},
    )
    return infer_from_onnx(onnx, "0" * 64, Stated(**stated), batch=1)


@pytest.mark.parametrize(
    ("output", "size", "stated", "layout", "classes"),
    [
        ((1, 84, 8400), 640, {}, "anchor-free", 80),
        ((1, 84, 2100), 320, {}, "anchor-free", 80),
        ((1, 5, 8400), 640, {}, "anchor-free", 1),
        ((1, 84, 33600), 1280, {}, "anchor-free", 80),
        ((1, 84, 34000), 1280, {}, "anchor-free", 80),
        ((1, 8400, 84), 640, {"class_names": NAMES_80}, "anchor-free", 80),
        ((1, 8400, 84), 640, {"layout": "anchor-free"}, "anchor-free", 80),
        ((1, 8400, 85), 640, {"layout": "decoded"}, "decoded", 80),
        ((1, 25200, 85), 640, {}, "decoded", 80),
        ((1, 6300, 85), 320, {}, "decoded", 80),
        ((1, 25200, 6), 640, {}, "decoded", 1),
        ((1, 77, 85), 640, {"layout": "decoded"}, "decoded", 80),
        ((1, 3549, 85), 416, {"layout": "yolox"}, "yolox", 80),
        ((1, 300, 6), 640, {"class_names": NAMES_80}, "end-to-end", 80),
    ],
)
def test_shapes_and_what_is_stated_tell_the_layout(
    output: tuple[int, ...], size: int, stated: dict[str, Any], layout: LayoutName, classes: int
) -> None:
    spec = infer(output, size=size, **stated)
    assert (spec.layout, len(spec.class_names), spec.heads) == (layout, classes, ())


def test_planes_are_heads_without_their_permute() -> None:
    shapes = [(1, 255, 640 // stride, 640 // stride) for stride in (32, 8, 16)]
    spec = infer(*shapes, class_names=NAMES_80, anchors="yolov5")
    assert spec.layout == "planes"
    assert [(head.stride, head.output) for head in spec.heads] == [(8, 1), (16, 2), (32, 0)]
    assert infer(*shapes, layout="planes", anchors="yolov5").heads == spec.heads
    with pytest.raises(ConfigurationError, match=r"raw heads of YOLOv8.*--layout planes"):
        infer(*((1, 144, *shape[2:]) for shape in shapes), anchors="yolov5")
    with pytest.raises(ConfigurationError, match="look alike"):
        infer(*shapes, class_names=NAMES_80)


@pytest.mark.parametrize(
    ("output", "size", "stated", "named"),
    [
        ((1, 3549, 85), 416, {}, ("decoded (80", "anchor-free (81", "yolox (80")),
        ((1, 3549, 85), 416, {"class_names": NAMES_80}, ("decoded (80", "yolox (80")),
        ((1, 8400, 84), 640, {}, ("decoded (79", "anchor-free (80", "yolox (79")),
        ((1, 84, 6), 64, {}, ("decoded (1", "anchor-free (2", "yolox (1", "end-to-end (any")),
    ],
)
def test_where_several_fit_all_are_named(
    output: tuple[int, ...], size: int, stated: dict[str, Any], named: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError, match=r"^layout: .*--layout for 'made_up.onnx'") as caught:
        infer(output, size=size, **stated)
    assert all(name in str(caught.value) for name in named)


@pytest.mark.parametrize(
    ("output", "stated", "message"),
    [
        ((1, 300, 6), {}, "class names: .*any number of classes; give --class-names"),
        ((1, 84, 8400), {"layout": "end-to-end"}, "layout: .* do not fit end-to-end"),
        ((1, 84, 8400), {"class_names": ("cat", "dog")}, "has 80 classes, got 2 names"),
        ((1, 300, 84), {}, "look like query heads"),
        ((1, 77, 85), {}, "look like query heads"),
        ((1, 9000, 85), {}, "must be those of a layout that is read.*--layout"),
    ],
)
def test_what_cannot_be_read_is_refused(
    output: tuple[int, ...], stated: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigurationError, ModelFileError), match=message):
        infer(output, **stated)


def test_boxes_and_columns_that_are_as_many_cannot_be_told_apart() -> None:
    with pytest.raises(ValueError, match="cannot be told apart"):
        infer((1, 84, 84), size=64, layout="anchor-free", class_names=NAMES_80)


def test_a_yolox_sees_bgr_in_full_range_at_the_top_left() -> None:
    spec = infer((1, 3549, 85), size=416, layout="yolox")
    assert spec.normalisation == Normalisation(
        channels="bgr", mean=(0, 0, 0), scale=(1, 1, 1), padding=114, placement="top-left"
    )
    assert infer((1, 84, 8400)).normalisation == Normalisation()


def test_an_exporters_names_are_the_classes() -> None:
    names = dict(enumerate(NAMES_80))
    metadata = {"names": repr(names), "task": "detect", "end2end": "False"}
    assert infer((1, 84, 8400), metadata=metadata).class_names == NAMES_80
    assert infer((1, 8400, 84), metadata=metadata).layout == "anchor-free"
    assert infer((1, 300, 6), metadata=metadata | {"end2end": "True"}).class_names == NAMES_80
    assert infer((1, 84, 8400), metadata={"names": repr(list(NAMES_80))}).class_names == NAMES_80
    given = tuple(reversed(NAMES_80))
    assert infer((1, 84, 8400), metadata=metadata, class_names=given).class_names == given


@pytest.mark.parametrize(
    ("task", "reason"),
    [("segment", "masks"), ("pose", "key points"), ("obb", "rotated"), ("classify", "no boxes")],
)
def test_other_tasks_are_refused_with_the_reason(task: str, reason: str) -> None:
    with pytest.raises(ModelFileError, match=f"'{task}'.*{reason}.*'detect' instead of 'made_up.onnx'"):
        infer((1, 56, 8400), metadata={"task": task})


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "{0: 'a'",
        "{1: 'a'}",
        "{}",
        "[]",
        "[1, 2]",
        "'cat'",
        "(" * 5000,
        "9" * 6000,
        "['a']" + " " * MOST_CHARACTERS,
    ],
)
def test_names_are_read_as_data_and_refused_if_they_are_none(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"metadata 'names': .* in 'here'"):
        read_export_facts({"names": text}, "here")


def test_a_layout_is_chosen_by_name() -> None:
    assert parse_layout("yolox") == "yolox"
    with pytest.raises(ConfigurationError, match=r"--layout: must be heads, planes, .* got 'yolov9'"):
        parse_layout("yolov9")
