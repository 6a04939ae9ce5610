"""The sample network for other input sizes: the same weights, and what it sees does not depend on the border."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from bmodel.errors import ConfigurationError
from bmodel.files import file_sha256
from bmodel.model_file import load_spec
from bmodel.sidecar import sidecar_path
from models.resize_onnx import main, resize_onnx
from tests.helpers.paths import ROOT

SAMPLE = ROOT / "models" / "sample_yolov7tiny_416.onnx"


def heads_of(path: Path, image: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"images": image}))


def test_its_own_size_gives_the_same_network(tmp_path: Path) -> None:
    spec = resize_onnx(SAMPLE, tmp_path / "again.onnx", (416, 416))
    assert file_sha256(tmp_path / "again.onnx") == file_sha256(SAMPLE)
    before = load_spec(SAMPLE)
    assert (spec.input, spec.outputs, spec.heads) == (before.input, before.outputs, before.heads)


def test_there_and_back_is_the_same_file(tmp_path: Path) -> None:
    resize_onnx(SAMPLE, tmp_path / "other.onnx", (320, 512))
    assert file_sha256(tmp_path / "other.onnx") != file_sha256(SAMPLE)
    resize_onnx(tmp_path / "other.onnx", tmp_path / "back.onnx", (416, 416))
    assert file_sha256(tmp_path / "back.onnx") == file_sha256(SAMPLE)


def test_a_smaller_input_sees_the_same_in_its_middle(tmp_path: Path) -> None:
    """Far from the border a convolutional network does not know how large its input is."""
    spec = resize_onnx(SAMPLE, tmp_path / "wide.onnx", (416, 832))
    assert load_spec(tmp_path / "wide.onnx") == spec
    dice = np.random.default_rng(0)
    image = np.zeros((1, 3, 416, 832), np.float32)
    image[..., :416] = dice.random((1, 3, 416, 416))
    image[..., 416:] = image[..., :416]  # the same picture twice
    wide = heads_of(tmp_path / "wide.onnx", image)
    square = heads_of(SAMPLE, np.ascontiguousarray(image[..., :416]))
    for two, one in zip(wide, square, strict=True):
        assert two.shape[3] == 2 * one.shape[3]
    # Where the networks' view ends: 300 pixels left of the seam nothing of it is seen.
    np.testing.assert_allclose(wide[0][:, :, :, :6], square[0][:, :, :, :6], atol=1e-4)
    np.testing.assert_allclose(wide[1][:, :, :, :3], square[1][:, :, :, :3], atol=1e-3)


@pytest.mark.parametrize(
    ("size", "words"),
    [((300, 320), "multiples of 32"), ((0, 320), "multiples of 32"), ((320, 330), "320x330")],
)
def test_a_size_that_cannot_be_halved_is_refused(tmp_path: Path, size: tuple[int, int], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        resize_onnx(SAMPLE, tmp_path / "x.onnx", size)
    assert not (tmp_path / "x.onnx").exists()


def test_a_file_of_another_make_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"was not written by models\.yolov7\.export_onnx"):
        resize_onnx(ROOT / "models" / "tiny.onnx", tmp_path / "x.onnx", (128, 128))


def test_the_command_writes_network_and_sidecar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = shutil.copy(SAMPLE, tmp_path / "net.onnx")
    shutil.copy(sidecar_path(SAMPLE), sidecar_path(tmp_path / "net.onnx"))
    main([str(source), "--size", "192x320", "--output", str(tmp_path / "small.onnx")])
    assert "(1, 3, 192, 320)" in capsys.readouterr().out
    spec = load_spec(tmp_path / "small.onnx")
    assert (spec.name, spec.input_hw, spec.class_names) == ("small", (192, 320), ("car", "person", "bike"))
    with pytest.raises(SystemExit, match="multiples of 32"):
        main([str(source), "--size", "100", "--output", str(tmp_path / "x.onnx")])
