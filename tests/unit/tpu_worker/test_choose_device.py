"""Which device `--device` means, and which combinations are refused before anything starts."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from bmodel.errors import ConfigurationError, LibraryError, ModelFileError, RaysailError
from bmodel.model_file import load_spec
from bmodel.sidecar import sidecar_path
from tests.helpers.paths import ROOT
from tpu_worker.devices import DeviceOptions, TimedOptions, resolve_device, runs_on_simulator
from tpu_worker.devices.choose_device import has_sail
from tpu_worker.devices.timed import standard_spec

FP32, INT8 = ROOT / "bmodel/tiny_fp32_1b.bmodel", ROOT / "bmodel/tiny_int8_1b.bmodel"
ONNX = ROOT / "models/tiny.onnx"


@pytest.fixture
def no_libsophon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "libsophon"
    folder.mkdir()
    monkeypatch.setenv("RAYSAIL_LIBSOPHON", str(folder))
    return folder


@pytest.fixture
def libsophon(no_libsophon: Path) -> Path:
    for name in ("libbmlib.so.0", "libbmrt.so.1.0"):
        (no_libsophon / name).touch()
    return no_libsophon


@pytest.mark.parametrize("path", [FP32, ONNX])
def test_without_a_card_auto_is_the_cpu(path: Path) -> None:
    assert resolve_device("auto", model_path=path, spec=load_spec(path), cards=0) == "cpu"


def test_with_cards_auto_is_sail_or_libbmrt(libsophon: Path) -> None:
    expected = "sail" if has_sail() else "libbmrt"
    assert resolve_device("auto", model_path=FP32, spec=load_spec(FP32), cards=2) == expected


@pytest.mark.skipif(has_sail(), reason="this Python has SAIL")
def test_cards_without_any_library_are_not_passed_over(no_libsophon: Path) -> None:
    with pytest.raises(LibraryError, match="there are 2 cards, but neither SAIL"):
        resolve_device("auto", model_path=FP32, spec=load_spec(FP32), cards=2)
    with pytest.raises(LibraryError, match=r"SAIL .* is not installed for this Python"):
        resolve_device("sail", model_path=FP32, spec=load_spec(FP32), cards=2)


@pytest.mark.skipif(has_sail(), reason="this Python has SAIL")
@pytest.mark.parametrize(
    ("requested", "chosen"), [("auto", "libbmrt"), ("sail", "sail"), ("libbmrt", "libbmrt")]
)
def test_a_clusters_cards_need_no_library_on_the_drivers_host(
    no_libsophon: Path, requested: str, chosen: str
) -> None:
    with pytest.raises(LibraryError):
        resolve_device(requested, model_path=FP32, spec=load_spec(FP32), cards=2)
    found = resolve_device(requested, model_path=FP32, spec=load_spec(FP32), cards=2, on_this_host=False)
    assert found == chosen
    with pytest.raises(ConfigurationError, match=r"needs a card, and none was found|'cpu' cannot run"):
        resolve_device(requested, model_path=INT8, spec=load_spec(INT8), cards=0, on_this_host=False)


@pytest.mark.skipif(has_sail(), reason="this Python has SAIL")
def test_the_cards_own_preprocessing_needs_sail_where_the_card_is(libsophon: Path) -> None:
    def choose(cards: int, *, on_this_host: bool, requested: str = "auto") -> str:
        return resolve_device(
            requested,
            model_path=FP32,
            spec=load_spec(FP32),
            cards=cards,
            on_this_host=on_this_host,
            preprocess="bmcv",
        )

    # A driver without a card and without SAIL leaves it to the workers to have both.
    assert choose(2, on_this_host=False) == "sail"
    with pytest.raises(LibraryError, match=r"SAIL .* is not installed for this Python"):
        choose(2, on_this_host=True)
    for here in (True, False):
        with pytest.raises(ConfigurationError, match="preprocess: bmcv needs a card, and none was found"):
            choose(0, on_this_host=here)


def test_a_clusters_simulator_is_not_looked_for_on_the_drivers_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAYSAIL_LIBRARIES", str(tmp_path))
    with pytest.raises(LibraryError):
        resolve_device("simulator", model_path=FP32, spec=load_spec(FP32), cards=0)
    found = resolve_device("simulator", model_path=FP32, spec=load_spec(FP32), cards=0, on_this_host=False)
    assert found == "simulator"


@pytest.mark.parametrize(
    ("requested", "path", "cards", "error", "message"),
    [
        ("auto", INT8, 0, ConfigurationError, "'cpu' cannot run the int8 model .* its ONNX twin is FP32"),
        ("cpu", INT8, 0, ConfigurationError, "'cpu' cannot run the int8 model"),
        ("auto", ONNX, 1, ConfigurationError, "a card runs BModels; name the device 'cpu'"),
        ("simulator", ONNX, 0, ConfigurationError, "'simulator' runs BModels only"),
        ("sail", FP32, 0, ConfigurationError, "'sail' needs a card, and none was found"),
        ("libbmrt", FP32, 0, ConfigurationError, "'libbmrt' needs a card, and none was found"),
        ("gpu", FP32, 0, ConfigurationError, "must be auto, cpu, simulator, libbmrt, sail, timed, got 'gpu'"),
        ("cpu", None, 0, ConfigurationError, "'cpu' needs a model file"),
    ],
)
def test_what_cannot_work_is_refused(
    requested: str, path: Path | None, cards: int, error: type[RaysailError], message: str
) -> None:
    spec = load_spec(path or FP32)
    with pytest.raises(error, match=message):
        resolve_device(requested, model_path=path, spec=spec, cards=cards)


def test_a_bmodel_alone_has_no_stand_in(tmp_path: Path) -> None:
    alone = Path(shutil.copy(FP32, tmp_path))
    with pytest.raises(ConfigurationError, match="no sidecar names the ONNX twin"):
        resolve_device("auto", model_path=alone, spec=load_spec(alone, anchors="yolov7"), cards=0)


def test_the_twin_must_be_the_very_file(tmp_path: Path) -> None:
    (tmp_path / "bmodel").mkdir()
    (tmp_path / "models").mkdir()
    path = Path(shutil.copy(FP32, tmp_path / "bmodel"))
    shutil.copy(sidecar_path(FP32), tmp_path / "bmodel")
    spec = load_spec(path)
    with pytest.raises(ModelFileError, match="there is no ONNX twin"):
        resolve_device("cpu", model_path=path, spec=spec, cards=0)
    (tmp_path / "models/tiny.onnx").write_bytes(ONNX.read_bytes() + b"\0")
    with pytest.raises(ModelFileError, match="source_sha256: must be"):
        resolve_device("cpu", model_path=path, spec=spec, cards=0)
    shutil.copy(ONNX, tmp_path / "models")
    assert resolve_device("cpu", model_path=path, spec=spec, cards=0) == "cpu"


def test_timed_needs_no_model() -> None:
    assert resolve_device("timed", model_path=None, spec=standard_spec(), cards=0) == "timed"


def test_options_travel() -> None:
    options = DeviceOptions(name="timed", spec=standard_spec(batch=4), model_path=None, device_id=3)
    assert pickle.loads(pickle.dumps(options)) == options  # noqa: S301 - our own bytes
    assert options.place == "card 3 with 'timed640'"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device_id": -1}, "device_id must be non-negative, got -1"),
        ({"threads": 0}, "threads must be positive, got 0"),
        ({"name": "cpu"}, "model_path must be given"),
    ],
)
def test_impossible_options_are_refused(arguments: dict[str, int | str], message: str) -> None:
    given: dict[str, Any] = {"name": "timed", "spec": standard_spec(), "model_path": None, **arguments}
    with pytest.raises(ValueError, match=message):
        DeviceOptions(**given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"service_ms": -1.0}, "service_ms must be non-negative"),
        ({"service_ms": float("nan")}, "service_ms must be non-negative"),
        ({"boxes_per_image": -1}, "boxes_per_image must be non-negative"),
        ({"fail_every": 0}, "fail_every must be positive"),
    ],
)
def test_impossible_timed_options_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimedOptions(**arguments)


def test_nothing_runs_on_the_simulator_that_has_not_loaded_it() -> None:
    assert not runs_on_simulator()
