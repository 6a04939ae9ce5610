"""Choose the device for `--device`, and refuse a combination that cannot work before anything starts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import get_args

from bmodel.errors import ConfigurationError, LibraryError, ModelFileError
from bmodel.files import file_sha256
from bmodel.libraries import find_card_libraries, find_simulator_libraries
from bmodel.model_file import twin_path
from bmodel.sidecar import ModelSpec
from tpu_worker.option_values import CARD_DEVICES, DeviceName, PreprocessName

DEVICE_NAMES: tuple[DeviceName, ...] = get_args(DeviceName)


def resolve_device(
    requested: str,
    *,
    model_path: Path | None,
    spec: ModelSpec,
    cards: int,
    on_this_host: bool = True,
    preprocess: PreprocessName = "opencv",
) -> DeviceName:
    """Return the device for an option's value, `auto` included.

    cards: how many real cards there are. With cards, `auto` takes SAIL, or libbmrt if this Python has no SAIL;
    without, ONNX Runtime on the CPU. on_this_host: whether the device is opened here; if not, its libraries are
    looked for where it is, and `auto` takes libbmrt, which every card's host has. preprocess: `bmcv` makes `auto` take
    SAIL, which alone has the card's image operations. Raises ConfigurationError, ModelFileError or LibraryError when
    it cannot work.
    """
    if requested == "auto":
        name = _automatic(cards, model_path, on_this_host=on_this_host, preprocess=preprocess)
    else:
        name = _named(requested)
    if name in CARD_DEVICES and cards < 1:
        raise ConfigurationError(f"device: '{name}' needs a card, and none was found")
    check_device(name, model_path=model_path, spec=spec, on_this_host=on_this_host)
    return name


def runs_on_simulator() -> bool:
    """Whether this process has loaded the chip simulator, as a SAIL that is linked to it instead of to a card does.

    Call it once a device is open. The simulator computes what the chip does, but on the CPU, so its times are not
    the chip's.
    """
    return "/libcmodel" in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")


def check_device(
    name: DeviceName, *, model_path: Path | None, spec: ModelSpec, on_this_host: bool = True
) -> None:
    """Raise unless a device can run a model, as far as is known without opening it.

    on_this_host: whether it is opened here, so that its libraries have to be here.
    """
    if name == "timed":
        return
    if model_path is None:
        raise ConfigurationError(f"model: the device '{name}' needs a model file")
    if name == "cpu":
        cpu_model_path(model_path, spec)
        return
    if model_path.suffix.lower() != ".bmodel":
        raise ConfigurationError(f"device: '{name}' runs BModels only, got '{model_path}'")
    if on_this_host:
        _check_libraries(name)


def _check_libraries(name: DeviceName) -> None:
    if name == "simulator":
        find_simulator_libraries()
    elif name == "libbmrt":
        find_card_libraries()
    elif not has_sail():
        raise LibraryError(
            "device: SAIL (sophon.sail) is not installed for this Python; it comes with the vendor's SDK"
        )


def cpu_model_path(model_path: Path, spec: ModelSpec) -> Path:
    """Return the ONNX file that the CPU runs in place of a model, checked against its SHA-256 in the sidecar.

    An INT8 BModel is refused: its ONNX twin is FP32, and its detections would be passed off as the BModel's.
    """
    if spec.precision != "fp32":
        raise ConfigurationError(
            f"device: 'cpu' cannot run the {spec.precision} model '{model_path}': its ONNX twin is FP32; "
            "use the simulator or a card"
        )
    path = twin_path(model_path, spec)
    if path is None:
        raise ConfigurationError(
            f"device: 'cpu' runs ONNX files, and no sidecar names the ONNX twin of '{model_path}'; "
            "use the simulator or a card"
        )
    if not path.is_file():
        raise ModelFileError(f"source_name: there is no ONNX twin '{path}' of '{model_path}'")
    expected = spec.file_sha256 if path == model_path else spec.source_sha256
    if expected is not None and file_sha256(path) != expected:
        raise ModelFileError(f"source_sha256: must be {expected}, got another file in '{path}'")
    return path


def has_sail() -> bool:
    """Whether this Python has SAIL; none of it is loaded."""
    try:
        return importlib.util.find_spec("sophon.sail") is not None
    except ModuleNotFoundError:
        return False


def has_libsophon() -> bool:
    """Whether the vendor's C runtime for cards is installed."""
    try:
        find_card_libraries()
    except LibraryError:
        return False
    return True


def _automatic(
    cards: int, model_path: Path | None, *, on_this_host: bool, preprocess: PreprocessName
) -> DeviceName:
    if cards < 1 and preprocess == "bmcv":
        raise ConfigurationError("preprocess: bmcv needs a card, and none was found")
    if cards < 1:
        return "cpu"
    if model_path is not None and model_path.suffix.lower() == ".onnx":
        raise ConfigurationError(f"device: a card runs BModels; name the device 'cpu' for '{model_path}'")
    if preprocess == "bmcv" or has_sail():
        return "sail"
    if has_libsophon() or not on_this_host:
        return "libbmrt"
    raise LibraryError(
        f"device: there are {cards} cards, but neither SAIL for this Python nor libsophon; install one, or choose "
        "a device by name"
    )


def _named(requested: str) -> DeviceName:
    for name in DEVICE_NAMES:
        if name == requested:
            return name
    raise ConfigurationError(f"device: must be auto, {', '.join(DEVICE_NAMES)}, got '{requested}'")
