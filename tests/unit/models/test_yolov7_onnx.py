"""The ONNX files against PyTorch's own outputs, and against the project's decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from bmodel.errors import ConfigurationError
from bmodel.model_file import load_spec
from bmodel.sidecar import read_sidecar, sidecar_path, write_sidecar
from models.yolov7.family import MODEL_NAMES, ModelName
from tpu_worker.layouts.candidates import Candidates
from tpu_worker.layouts.registry import open_layout

torch = pytest.importorskip("torch", reason="needs PyTorch (the extra 'models')")

from models.yolov7.export_onnx import Provenance, describe_onnx, export_onnx, main  # noqa: E402
from models.yolov7.network import Network, build_network  # noqa: E402

pytestmark = pytest.mark.models

INPUT_HW = (128, 192)
PROVENANCE = Provenance(name="test", class_names=("car", "person", "bike"), licence="Apache-2.0")


def small_network(name: ModelName, *, implicit: bool = True) -> Network:
    """A narrow network whose statistics and heads look trained."""
    torch.manual_seed(5)
    network = build_network(name, 3, width=0.25, implicit=implicit)
    network.eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
        for head in network.detect.m:
            head.weight.normal_(0, 0.5)
            head.bias.normal_(0, 1)
    return network


def run(path: Path, images: np.ndarray) -> list[np.ndarray]:
    """ONNX Runtime's outputs."""
    return list(onnxruntime.InferenceSession(str(path)).run(None, {"images": images}))


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_outputs_equal_pytorch(name: ModelName, tmp_path: Path) -> None:
    network, path = small_network(name), tmp_path / "x.onnx"
    images = torch.rand(1, 3, *INPUT_HW)

    export_onnx(network, path, INPUT_HW)

    with torch.no_grad():
        expected = network(images)
    for head, got in zip(expected, run(path, images.numpy()), strict=True):
        assert head.std() > 0.1
        assert got.shape == tuple(head.shape)
        assert np.abs(head.numpy() - got).max() < 1e-4


def test_an_open_batch_takes_any(tmp_path: Path) -> None:
    network, path = small_network("yolov7-tiny"), tmp_path / "x.onnx"
    images = torch.rand(3, 3, *INPUT_HW)

    export_onnx(network, path, INPUT_HW, None)

    whole = run(path, images.numpy())
    single = [run(path, images[position : position + 1].numpy()) for position in range(3)]
    for level, head in enumerate(whole):
        assert head.shape[0] == 3
        np.testing.assert_allclose(head, np.concatenate([heads[level] for heads in single]), atol=1e-5)


def candidates(path: Path, images: np.ndarray) -> Candidates:
    """What the project's decoder makes of a file's outputs."""
    decoder = open_layout(load_spec(path), conf=0.05, single_label=False)
    return decoder.decode(run(path, images), 0)


@pytest.mark.parametrize("name", ["yolov7-tiny", "yolov7-e6e"])
def test_decoded_output_says_what_the_decoder_says(name: ModelName, tmp_path: Path) -> None:
    network = small_network(name)
    images = np.random.default_rng(2).random((1, 3, *INPUT_HW), dtype=np.float32)
    found = []
    for decoded in (False, True):
        path = tmp_path / f"{decoded}.onnx"
        export_onnx(network, path, INPUT_HW, decoded=decoded)
        write_sidecar(describe_onnx(network, path, INPUT_HW, 1, PROVENANCE, decoded=decoded), path)
        found.append(candidates(path, images))

    raw, decoded_rows = found
    assert len(raw.xyxy) > 100
    assert raw.class_id.tolist() == decoded_rows.class_id.tolist()
    np.testing.assert_allclose(raw.confidence, decoded_rows.confidence, atol=1e-5)
    np.testing.assert_allclose(raw.xyxy, decoded_rows.xyxy, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("batch", [1, 4, None])
@pytest.mark.parametrize("decoded", [False, True])
def test_sidecar_fits_the_file(batch: int | None, decoded: bool, tmp_path: Path) -> None:
    network, path = small_network("yolov7-e6e", implicit=False), tmp_path / "x.onnx"

    export_onnx(network, path, INPUT_HW, batch, decoded=decoded)
    write_sidecar(describe_onnx(network, path, INPUT_HW, batch, PROVENANCE, decoded=decoded), path)

    spec = load_spec(path)
    assert spec.input.shape == (batch or 1, 3, *INPUT_HW)
    assert spec.class_names == PROVENANCE.class_names
    assert spec.licence == "Apache-2.0"
    if decoded:
        boxes = 3 * (16 * 24 + 8 * 12 + 4 * 6 + 2 * 3)
        assert [output.shape for output in spec.outputs] == [(batch or 1, boxes, 8)]
    else:
        assert [head.stride for head in spec.heads] == [8, 16, 32, 64]
        assert spec.heads[3].anchors_wh == ((436, 615), (739, 380), (925, 792))


def test_graph_is_static_valid_and_reproducible(tmp_path: Path) -> None:
    first, second = tmp_path / "1.onnx", tmp_path / "2.onnx"
    for path in (first, second):
        export_onnx(small_network("yolov7-e6e"), path, INPUT_HW, None)

    onnx.checker.check_model(str(first), full_check=True)
    model = onnx.load(str(first))
    used = {node.op_type for node in model.graph.node}
    assert used == {
        "Conv", "Sigmoid", "Mul", "Concat", "MaxPool", "Resize", "Slice", "Add", "Reshape", "Transpose"
    }  # fmt: skip
    assert model.opset_import[0].version == 13
    assert first.read_bytes() == second.read_bytes()


def test_sizes_that_do_not_divide_are_refused(tmp_path: Path) -> None:
    network = small_network("yolov7-e6e")

    with pytest.raises(ConfigurationError, match="'yolov7-e6e' must be multiples of 64, got 128x160"):
        export_onnx(network, tmp_path / "x.onnx", (128, 160))
    assert not list(tmp_path.iterdir())


def test_random_weights_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"

    main(f"--model yolov7 --random --output {path} --size 64 96 --classes 2 --width 0.1 --batch 0".split())

    spec = read_sidecar(sidecar_path(path))
    assert spec.input_hw == (64, 96)
    assert spec.class_names == ("class_0", "class_1")
    assert spec.heads[0].anchors_wh == ((12, 16), (19, 36), (40, 28))
    assert [head.shape for head in run(path, np.zeros((2, 3, 64, 96), np.float32))] == [
        (2, 3, 8, 12, 7),
        (2, 3, 4, 6, 7),
        (2, 3, 2, 3, 7),
    ]
