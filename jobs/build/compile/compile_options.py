"""What `raysail compile` is asked to make, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from bmodel.anchors import Anchors
from bmodel.errors import ConfigurationError
from bmodel.layouts import LayoutName
from jobs.config.choices import CALIBRATION_METHODS, PRECISIONS, CalibrationMethod, Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantisation:
    """How to leave FP32.

    images: a folder or list to find INT8's ranges on, `count` of it by `method`.
    fp32_layers: mixed precision, the layers that stay in FP32; empty: the `fp32_count` that suffer most.
    quantised_io: 8-bit inputs and outputs, which the host then has to convert.
    """

    images: Path
    count: int = 100
    method: CalibrationMethod = "kl"
    fp32_layers: tuple[str, ...] = ()
    fp32_count: int = 8
    quantised_io: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigurationError(f"--calibration-count: must be at least 1, got {self.count}")
        if self.fp32_count < 1:
            raise ConfigurationError(f"--fp32-count: must be at least 1, got {self.fp32_count}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CompileOptions:
    """What to make of an ONNX file.

    batches, sizes: a BModel for each pair; empty: what the file or its sidecar says.
    anchors, class_names, layout: for a network without a sidecar, or instead of its own.
    verify_images, verify_count: what the BModel and its twin are compared on; 0 leaves it unverified.
    output: folder for the builds, one folder each.
    copy_to: folder for another copy of BModel and sidecar, unless they are refused.
    name: start of the file names [the network's name].
    """

    precision: Precision = "fp32"
    batches: tuple[int, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    quantisation: Quantisation | None = None
    anchors: str | Anchors | None = None
    class_names: tuple[str, ...] | None = None
    layout: LayoutName | None = None
    verify_images: Path | None = None
    verify_count: int = 2
    output: Path = field(default=Path("build"))
    copy_to: Path | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.precision != "fp32" and self.quantisation is None:
            raise ConfigurationError(
                f"--calibration: {self.precision} needs a folder of images to find its ranges on"
            )
        if self.precision == "fp32" and self.quantisation is not None:
            raise ConfigurationError("--calibration: fp32 has no ranges to find; leave it out")
        if self.quantisation and self.quantisation.fp32_layers and self.precision != "mixed":
            raise ConfigurationError("--fp32-layers: only mixed precision keeps layers in FP32")
        if self.verify_count < 0:
            raise ConfigurationError(f"--verify-count: must not be negative, got {self.verify_count}")


def parse_precision(text: str) -> Precision:
    """Check the option's value."""
    if text not in PRECISIONS:
        raise ConfigurationError(f"--precision: must be {', '.join(PRECISIONS)}, got '{text}'")
    return cast("Precision", text)


def parse_method(text: str) -> CalibrationMethod:
    """Check the option's value."""
    if text not in CALIBRATION_METHODS:
        raise ConfigurationError(f"--method: must be {', '.join(CALIBRATION_METHODS)}, got '{text}'")
    return cast("CalibrationMethod", text)


def read_layer_list(path: Path) -> tuple[str, ...]:
    """Read a list of layers, one a line; what follows a `#` is a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--fp32-layers: cannot read '{path}': {error}") from error
    names = tuple(dict.fromkeys(name for line in lines if (name := line.partition("#")[0].strip())))
    if not names:
        raise ConfigurationError(f"--fp32-layers: '{path}' names no layer")
    return names
