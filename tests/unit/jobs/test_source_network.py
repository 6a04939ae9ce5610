"""Which ONNX files are taken for a detector that runs, before the compiler is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bmodel.errors import ConfigurationError, ModelFileError
from bmodel.model_file import load_spec
from jobs.build.compile.source_network import read_network
from tests.helpers.paths import ROOT

TINY = ROOT / "models/tiny.onnx"
SHAPE = (1, 3, 64, 64)


def _save(path: Path, kind: str, output: list[int], weights: dict[str, np.ndarray]) -> Path:
    node = helper.make_node(kind, ["x", *weights], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("shape", [(1, 3, 64, 96), (4, 3, 64, 96), (2, 3, 128, 32)])
def test_a_detector_runs_at_every_shape_it_leaves_open(shape: tuple[int, int, int, int]) -> None:
    spec = read_network(TINY).check(shape)
    assert spec.input.shape == shape
    assert [head.stride for head in spec.heads] == [8, 16, 32]
    assert spec.heads == load_spec(TINY).heads
    assert spec.class_names == ("car", "person", "bike")


def test_what_is_given_is_preferred_to_the_sidecar() -> None:
    network = read_network(TINY, anchors="yolov5", class_names=("a", "b", "c"))
    spec = network.check((1, 3, 64, 96))
    assert spec.class_names == ("a", "b", "c")
    assert spec.heads[0].anchors_wh[0] == (10.0, 13.0)
    with pytest.raises(ConfigurationError, match="3 classes, got 2"):
        read_network(TINY, class_names=("a", "b")).check((1, 3, 64, 96))


def test_a_size_that_it_cannot_have_is_refused() -> None:
    # Strides of 8, 16 and 32 do not fit into 40 pixels.
    with pytest.raises(ModelFileError, match="stride"):
        read_network(TINY).check((1, 3, 40, 40))


def test_a_contradiction_is_noticed(tmp_path: Path) -> None:
    weights = {"w": np.zeros((4, 5, 3, 3), np.float32)}
    path = _save(tmp_path / "wrong.onnx", "Conv", [1, 4, 62, 62], weights)
    with pytest.raises(ModelFileError, match=r"ONNX Runtime cannot run '.*wrong\.onnx'"):
        read_network(path).check(SHAPE)


def test_an_operator_that_nobody_knows(tmp_path: Path) -> None:
    path = _save(tmp_path / "strange.onnx", "Frobnicate", [1, 3, 64, 64], {})
    with pytest.raises(ModelFileError, match="Frobnicate"):
        read_network(path).check(SHAPE)


def test_a_network_that_is_no_detector(tmp_path: Path) -> None:
    path = _save(tmp_path / "filter.onnx", "Relu", [1, 3, 64, 64], {})
    with pytest.raises(ModelFileError, match=r"3 or 4 raw heads.* got \(1, 3, 64, 64\)"):
        read_network(path).check(SHAPE)
