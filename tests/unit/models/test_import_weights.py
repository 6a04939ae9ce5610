"""Published checkpoints, written by stand-ins of the authors' classes: all of it arrives, or an error says what not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from bmodel.errors import ConfigurationError, ModelFileError
from bmodel.model_file import load_spec
from bmodel.sidecar import read_sidecar, sidecar_path
from jobs.commands.import_weights import ImportOptions, command, import_checkpoint, parse_batch, parse_size
from models.checkpoint.checkpoint_weights import Weights, read_weights
from models.yolov7.family import MODEL_NAMES, ModelName, topology
from tests.helpers.paths import ROOT

torch = pytest.importorskip("torch", reason="needs PyTorch (the extra 'models')")

from models.checkpoint.import_weights import class_names_for, identify, load_network  # noqa: E402
from models.yolov7.network import build_network  # noqa: E402

pytestmark = pytest.mark.models
INPUT_HW = (128, 128)


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the training form, in half precision, as an average: everything that training leaves behind."""
    path = tmp_path_factory.mktemp("tiny") / "yolov7-tiny.pt"
    write_as_authors(path, "yolov7-tiny", "--training", "--half", "--ema")
    return path


def write_as_authors(path: Path, *arguments: str) -> None:
    """In a process of its own: its modules' names must not exist here."""
    subprocess.run(
        [sys.executable, str(ROOT / "tests/fakes/authors_checkpoint.py"), str(path), *arguments],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def largest_difference(onnx_path: Path, checkpoint: Path) -> float:
    """Between the imported network's heads and those that the saved weights had given."""
    saved = np.load(checkpoint.with_suffix(".npz"))
    image, *expected = (saved[f"arr_{number}"] for number in range(len(saved.files)))
    got = onnxruntime.InferenceSession(str(onnx_path)).run(None, {"images": image})
    assert [head.shape for head in got] == [head.shape for head in expected]
    assert min(head.std() for head in expected) > 0.1
    return max(float(np.abs(left - right).max()) for left, right in zip(got, expected, strict=True))


def test_a_training_checkpoint_arrives_whole(tiny_checkpoint: Path, tmp_path: Path) -> None:
    report = import_checkpoint(tiny_checkpoint, tmp_path, ImportOptions(input_hw=INPUT_HW))

    path = tmp_path / "yolov7-tiny_128x128.onnx"
    assert report == [
        "network   yolov7-tiny, 3 classes, training form",
        "tensors   344 loaded, none missing, none unused",
        "licence   GPL-3.0 (the weights keep their own)",
        f"written   {path}",
        f"          {sidecar_path(path)}",
    ]
    assert largest_difference(path, tiny_checkpoint) < 1e-4
    spec = load_spec(path)
    assert spec.licence == "GPL-3.0"
    assert spec.class_names == ("car", "person", "bike")
    assert spec.heads[0].anchors_wh == ((10, 13), (16, 30), (33, 23))
    assert "models.yolo" not in sys.modules
    assert "models.common" not in sys.modules


def test_a_deploy_checkpoint_of_yolov7_arrives_whole(tmp_path: Path) -> None:
    checkpoint = tmp_path / "yolov7.pt"
    write_as_authors(checkpoint, "yolov7")

    report = import_checkpoint(checkpoint, tmp_path, ImportOptions(input_hw=INPUT_HW))

    assert report[:2] == [
        "network   yolov7, 3 classes, deploy form",
        "tensors   560 loaded, none missing, none unused",
    ]
    assert largest_difference(tmp_path / "yolov7_128x128.onnx", checkpoint) < 1e-4


def test_the_command_takes_its_options(tiny_checkpoint: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    (tmp_path / "names.txt").write_text("motor vehicle\npedestrian\nbicycle\n")

    arguments = [
        *(
            str(tiny_checkpoint),
            "--model",
            "yolov7-tiny",
            "--size",
            "64,96",
            "--batch",
            "symbolic",
            "--decoded",
        ),
        *("--output", str(tmp_path / "new"), "--licence", "MIT"),
        *("--class-names", str(tmp_path / "names.txt")),
    ]

    result = CliRunner().invoke(app, arguments, catch_exceptions=False)

    assert result.exit_code == 0
    assert "none missing, none unused" in result.output
    path = tmp_path / "new/yolov7-tiny_64x96_bN_decoded.onnx"
    spec = read_sidecar(sidecar_path(path))
    assert (spec.layout, spec.input_hw, spec.licence) == ("decoded", (64, 96), "MIT")
    assert spec.class_names == ("motor vehicle", "pedestrian", "bicycle")
    images = np.zeros((3, 3, 64, 96), np.float32)
    (rows,) = onnxruntime.InferenceSession(str(path)).run(None, {"images": images})
    assert rows.shape == (3, 3 * (8 * 12 + 4 * 6 + 2 * 3), 8)


def test_the_wrong_network_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"the detection layer of yolov7 needs 'model\.105\.anchors'"):
        import_checkpoint(tiny_checkpoint, tmp_path, ImportOptions(model="yolov7"))
    with pytest.raises(ConfigurationError, match=r"model must be one of .*, got 'yolov5s'"):
        import_checkpoint(tiny_checkpoint, tmp_path, ImportOptions(model="yolov5s"))
    assert not list(tmp_path.iterdir())


def tensors_of(name: ModelName, class_count: int = 3, *, implicit: bool = False) -> dict[str, NDArray[Any]]:
    """A checkpoint's tensors of the right names and shapes, almost without memory."""
    with torch.device("meta"):
        network = build_network(name, class_count, implicit=implicit)
    plan = topology(name)
    tensors = {
        key: np.broadcast_to(np.float32(0.5), value.shape) for key, value in network.state_dict().items()
    }
    anchors = np.asarray(plan.anchors, dtype=np.float32) + 1
    tensors[f"model.{plan.detect_index}.anchor_grid"] = anchors[:, None, :, None, None, :]
    tensors[f"model.{plan.detect_index}.anchors"] = anchors / np.asarray(plan.strides)[:, None, None]
    return tensors


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_member_is_recognised(name: ModelName) -> None:
    assert identify(Weights(tensors=tensors_of(name), batch_norm_eps={})) == name


def test_the_training_form_of_e6e_loses_its_auxiliary_branches() -> None:
    tensors = tensors_of("yolov7-e6e", implicit=True)
    training = {key.replace("model.261.", "model.265."): value for key, value in tensors.items()}
    auxiliary = ["model.261.conv.weight", "model.264.bn.bias", "model.265.m2.0.weight", "model.265.m2.3.bias"]
    training |= {key: np.zeros(3, np.float32) for key in auxiliary}
    weights = Weights(tensors=training, batch_norm_eps={})

    imported = load_network(weights, identify(weights))

    assert imported.name == "yolov7-e6e"
    assert imported.loaded == len(tensors)
    assert sorted(imported.training_only) == auxiliary
    assert imported.implicit
    assert imported.network.detect.anchor_levels()[3][0] == (437, 616)


def test_anchors_in_pixels_may_be_missing() -> None:
    tensors = tensors_of("yolov7-tiny")
    del tensors["model.77.anchor_grid"]

    imported = load_network(Weights(tensors=tensors, batch_norm_eps={}), "yolov7-tiny")

    assert imported.network.detect.anchor_levels()[0] == ((11, 14), (17, 31), (34, 24))


def test_batch_norm_takes_the_checkpoints_constant() -> None:
    weights = Weights(tensors=tensors_of("yolov7-tiny"), batch_norm_eps={"model.3.bn": 0.25})

    network = load_network(weights, "yolov7-tiny").network

    assert network.model[3].bn.eps == 0.25
    assert network.model[4].bn.eps == 1e-3


ANCHORS = "model.77.anchors"
HEAD = "model.77.m.0.weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.9.conv.weight": None}, r"1 missing: model\.9\.conv\.weight"),
        ({"model.9.conv.extra": (3,)}, r"1 left over: model\.9\.conv\.extra"),
        ({"model.9.bn.bias\n": (3,)}, r"1 left over: 'model\.9\.bn\.bias\\n'"),
        ({"model.9.bn.bias": (3,)}, r"1 of another shape: model\.9\.bn\.bias \(3,\) for \(64,\)"),
        (
            {f"model.{number}.conv.weight": None for number in (0, 1, 2, 3, 4, 5, 7)},
            r"7 missing: model\.0\..*, …",
        ),
        ({HEAD: (25, 128, 1, 1)}, "has 25 outputs, which are not 3 times 5 \\+ classes"),
        ({HEAD: (15, 128, 1, 1)}, "has 15 outputs, which are not 3 times 5 \\+ classes"),
        ({HEAD: (24,)}, "needs 'model.77.m.0.weight' of four dimensions"),
        ({HEAD: None}, "needs 'model.77.m.0.weight' of four dimensions"),
        ({ANCHORS: None}, r"needs 'model\.77\.anchors' of shape \(3, anchors, 2\)"),
        ({ANCHORS: (4, 3, 2)}, r"needs 'model\.77\.anchors' of shape \(3, anchors, 2\)"),
        ({"model.77.anchor_grid": (3, 1, 3, 1, 1, 2)}, "must be 'model.77.anchors' times the strides"),
        ({"model.77.anchor_grid": (3, 2)}, "must be 'model.77.anchors' times the strides"),
    ],
)
def test_what_does_not_fit_is_listed(changes: dict[str, tuple[int, ...] | None], message: str) -> None:
    tensors = tensors_of("yolov7-tiny")
    for name, shape in changes.items():
        tensors.pop(name, None)
        if shape is not None:
            tensors[name] = np.zeros(shape, np.float32)

    with pytest.raises(ModelFileError, match=message):
        load_network(Weights(tensors=tensors, batch_norm_eps={}), "yolov7-tiny")


def test_weights_that_are_not_finite_are_refused() -> None:
    tensors = tensors_of("yolov7-tiny")
    tensors["model.0.bn.weight"] = np.full(32, np.nan, np.float32)

    with pytest.raises(ModelFileError, match=r"does not fit yolov7-tiny: 1 not finite: model\.0\.bn\.weight"):
        load_network(Weights(tensors=tensors, batch_norm_eps={}), "yolov7-tiny")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["model.140.m.0.weight", "model.0.conv.weight"],
            "last layer has number 140; the family's have yolov7-tiny 77",
        ),
        (["backbone.conv"], "are not named 'model.<number>"),
    ],
)
def test_other_networks_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        identify(Weights(tensors=dict.fromkeys(names, np.zeros(1)), batch_norm_eps={}))


def test_class_names_must_be_as_many_as_classes() -> None:
    weights = Weights(tensors={}, batch_norm_eps={}, class_names=("a", "b"))

    assert class_names_for(weights, 2, None) == ("a", "b")
    assert class_names_for(weights, 3, ("x", "y", "z")) == ("x", "y", "z")
    with pytest.raises(ConfigurationError, match="the checkpoint has 3 classes, got 2 class names"):
        class_names_for(weights, 3, None)
    with pytest.raises(ConfigurationError, match="does not name its 2 classes: give --class-names"):
        class_names_for(Weights(tensors={}, batch_norm_eps={}), 2, None)


@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_are_read_as_pytorch_reads_them(protocol: int, tmp_path: Path) -> None:
    torch.manual_seed(2)
    base = torch.randn(4, 6, 3, 3)
    saved = {
        "plain": base,
        "view": base[1:3, ::2],
        "transposed": base.permute(2, 0, 3, 1),
        "channels last": base.contiguous(memory_format=torch.channels_last),
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "double": base.double(),
        "scalar": torch.tensor(7),
        "flags": base > 0,
        "parameter": torch.nn.Parameter(base[0]),
    }
    path = tmp_path / "x.pt"
    torch.save({"state_dict": saved, "epoch": 3}, path, pickle_protocol=protocol)

    read = read_weights(path).tensors

    assert read.keys() == saved.keys()
    for name, expected in saved.items():
        value = expected.detach().float() if expected.is_floating_point() else expected
        np.testing.assert_array_equal(read[name], value.numpy())


@pytest.mark.parametrize(
    ("text", "hw"), [("640", (640, 640)), ("384,640", (384, 640)), ("384x640", (384, 640))]
)
def test_sizes_are_height_before_width(text: str, hw: tuple[int, int]) -> None:
    assert parse_size(text) == hw


@pytest.mark.parametrize("text", ["", "640,", "1,2,3", "-640", "640.0", "wide"])
def test_senseless_sizes_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--size: must be one side or HEIGHT,WIDTH in pixels, got "):
        parse_size(text)


def test_batches_are_numbers_or_open() -> None:
    assert (parse_batch("4"), parse_batch("symbolic")) == (4, None)
    for text in ("0", "-1", "many"):
        with pytest.raises(
            ConfigurationError, match="--batch: must be a positive whole number or 'symbolic', got "
        ):
            parse_batch(text)
