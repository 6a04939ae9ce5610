"""What may be asked of `raysail compile`, and the shapes that follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from bmodel.compiler.compile import Calibration, CompileRequest
from bmodel.errors import ConfigurationError
from bmodel.model_file import load_spec
from bmodel.onnx_file import OnnxFile, OnnxTensor, read_onnx
from jobs.build.compile.compile_options import (
    CompileOptions,
    Quantisation,
    parse_method,
    parse_precision,
    read_layer_list,
)
from jobs.build.compile.source_network import input_shapes, parse_batches, parse_sizes, shape_label
from tests.helpers.paths import ROOT

TINY = ROOT / "models/tiny.onnx"


def _onnx(*shape: int | None) -> OnnxFile:
    tensor = OnnxTensor(name="images", shape=shape, dtype="float32")
    return OnnxFile(path=Path("some.onnx"), inputs=(tensor,), outputs=(tensor,))


@pytest.mark.parametrize(
    ("text", "batches"), [(None, ()), ("", ()), ("1", (1,)), ("4,1", (4, 1)), ("1,1", (1,)), (" 2", (2,))]
)
def test_parses_batches(text: str | None, batches: tuple[int, ...]) -> None:
    assert parse_batches(text) == batches


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        (None, ()),
        ("640", ((640, 640),)),
        ("640,768", ((640, 640), (768, 768))),
        ("384x640", ((384, 640),)),
        ("64X96,64x96", ((64, 96),)),
    ],
)
def test_parses_sizes_heights_first(text: str | None, sizes: tuple[tuple[int, int], ...]) -> None:
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "a", "1,", "1x2x3"])
def test_refuses_other_numbers(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--size: must be"):
        parse_sizes(text)
    with pytest.raises(ConfigurationError, match="--batch: must be"):
        parse_batches(text)


@pytest.mark.parametrize(
    ("own", "batches", "sizes", "shapes"),
    [
        ((1, 3, 640, 640), (), (), [(1, 3, 640, 640)]),
        ((1, 3, 640, 640), (1,), ((640, 640),), [(1, 3, 640, 640)]),
        ((None, 3, 640, 640), (1, 4), (), [(1, 3, 640, 640), (4, 3, 640, 640)]),
        ((None, 3, 640, 640), (), (), [(1, 3, 640, 640)]),
        (
            (None, None, None, None),
            (1, 4),
            ((64, 96), (32, 32)),
            [(1, 3, 64, 96), (4, 3, 64, 96), (1, 3, 32, 32), (4, 3, 32, 32)],
        ),
    ],
)
def test_shapes_are_the_files_or_what_is_asked_for(
    own: tuple[int | None, ...],
    batches: tuple[int, ...],
    sizes: tuple[tuple[int, int], ...],
    shapes: list[tuple[int, ...]],
) -> None:
    assert input_shapes(_onnx(*own), None, batches, sizes) == shapes


def test_a_sidecar_fills_in_what_the_file_leaves_open() -> None:
    assert input_shapes(read_onnx(TINY), load_spec(TINY), (), ()) == [(1, 3, 64, 96)]


@pytest.mark.parametrize(
    ("own", "batches", "sizes", "message"),
    [
        (
            (1, 3, 640, 640),
            (4,),
            (),
            "--batch: 'some.onnx' has a fixed batch of 1, it cannot be compiled for 4",
        ),
        ((1, 3, 640, 640), (), ((768, 768),), "--size: 'some.onnx' has a fixed height of 640"),
        ((1, 3, 640, 640), (), ((640, 768),), "--size: 'some.onnx' has a fixed width of 640"),
        ((None, 3, None, None), (), (), "--size: 'some.onnx' leaves its input size open"),
        ((1, 4, 640, 640), (), (), r"one input \(N, 3, H, W\)"),
        ((1, 3, 640), (), (), r"one input \(N, 3, H, W\)"),
    ],
)
def test_refuses_a_shape_that_the_file_cannot_have(
    own: tuple[int | None, ...], batches: tuple[int, ...], sizes: tuple[tuple[int, int], ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        input_shapes(_onnx(*own), None, batches, sizes)


@pytest.mark.parametrize(
    ("shape", "stem", "label"),
    [
        ((1, 3, 640, 640), "yolov7", "640_1b"),
        ((4, 3, 640, 640), "yolov7_640", "4b"),
        ((1, 3, 64, 64), "yolov7_640", "64_1b"),
        ((1, 3, 384, 640), "yolov7", "384x640_1b"),
    ],
)
def test_names_tell_shapes_apart(shape: tuple[int, int, int, int], stem: str, label: str) -> None:
    assert shape_label(shape, stem) == label


def test_precision_and_calibration_belong_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--calibration: int8 needs a folder"):
        CompileOptions(precision="int8")
    with pytest.raises(ConfigurationError, match="--calibration: fp32 has no ranges"):
        CompileOptions(quantisation=Quantisation(images=tmp_path))
    with pytest.raises(ConfigurationError, match="--fp32-layers: only mixed"):
        CompileOptions(precision="int8", quantisation=Quantisation(images=tmp_path, fp32_layers=("a",)))
    for precision in ("int8", "mixed"):
        CompileOptions(precision=parse_precision(precision), quantisation=Quantisation(images=tmp_path))


@pytest.mark.parametrize(("parse", "value"), [(parse_precision, "fp16"), (parse_method, "magic")])
def test_refuses_unknown_words(parse: object, value: str) -> None:
    assert callable(parse)
    with pytest.raises(ConfigurationError, match=f"got '{value}'"):
        parse(value)


@pytest.mark.parametrize("options", [{"count": 0}, {"fp32_count": 0}])
def test_refuses_counts_below_one(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="must be at least 1, got 0"):
        Quantisation(images=tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="--verify-count"):
        CompileOptions(verify_count=-1)


def test_reads_a_list_of_layers(tmp_path: Path) -> None:
    path = tmp_path / "layers.txt"
    path.write_text("# worst first\nconv1_Conv\n\n act1_Mul  # silu\nconv1_Conv\n")
    assert read_layer_list(path) == ("conv1_Conv", "act1_Mul")
    path.write_text("# none\n")
    with pytest.raises(ConfigurationError, match="names no layer"):
        read_layer_list(path)
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_layer_list(tmp_path / "missing")


def test_a_request_is_consistent(tmp_path: Path) -> None:
    images = Calibration(images=tmp_path, count=1)
    shape = (1, 3, 64, 96)
    with pytest.raises(ValueError, match="calibration is for"):
        CompileRequest(onnx=TINY, name="x", input_shape=shape, calibration=images)
    with pytest.raises(ValueError, match="calibration is for"):
        CompileRequest(onnx=TINY, name="x", input_shape=shape, precision="int8")
    with pytest.raises(ValueError, match="fp32_layers are for"):
        CompileRequest(onnx=TINY, name="x", input_shape=shape, precision="mixed", calibration=images)
