"""The options to open a device with: plain values that are sent to the process that opens it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bmodel.errors import ConfigurationError
from bmodel.sidecar import ModelSpec
from tpu_worker.option_values import DeviceName, FaultAction, PreprocessName


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedOptions:
    """How the timed device behaves; calls are counted from 1, for each opened device.

    service_ms: wall time of one launch, that is of a whole batch.
    seed, boxes_per_image: what the canned answers hold.
    fail_every: every n-th call raises DeviceError.
    hang_at, die_at, segfault_at: that call never returns, exits the process, or kills it with SIGSEGV.
    poison: what happens when an image of the batch is plain magenta; None leaves such images alone.
    fault_file: a file that arms a fault from outside (docs/devices.md); the environment's RAYSAIL_FAULT_FILE else.
    """

    service_ms: float = 100.0
    seed: int = 0
    boxes_per_image: int = 8
    fail_every: int | None = None
    hang_at: int | None = None
    die_at: int | None = None
    segfault_at: int | None = None
    poison: FaultAction | None = None
    fault_file: Path | None = None

    def __post_init__(self) -> None:
        if not self.service_ms >= 0:
            raise ValueError(f"service_ms must be non-negative, got {self.service_ms}")
        if self.boxes_per_image < 0:
            raise ValueError(f"boxes_per_image must be non-negative, got {self.boxes_per_image}")
        for name in ("fail_every", "hang_at", "die_at", "segfault_at"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be positive, got {value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceOptions:
    """A network on a device.

    name: which device.
    spec: the network, from `bmodel.model_file.load_spec`.
    model_path: its file, checked again where the device is opened; None only for `timed`.
    device_id: the card's number on its host; a mere label for devices without a card.
    threads: cores that `cpu` may use; None for all.
    preprocess: who decodes and letterboxes, OpenCV on the host or, with `sail`, BMCV on the card.
    """

    name: DeviceName
    spec: ModelSpec
    model_path: Path | None
    device_id: int = 0
    threads: int | None = None
    preprocess: PreprocessName = "opencv"
    timed: TimedOptions = field(default_factory=TimedOptions)

    def __post_init__(self) -> None:
        if self.device_id < 0:
            raise ValueError(f"device_id must be non-negative, got {self.device_id}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be positive, got {self.threads}")
        if self.preprocess == "bmcv" and self.name != "sail":
            raise ConfigurationError(f"preprocess: bmcv needs the device 'sail', got '{self.name}'")
        if self.model_path is None and self.name != "timed":
            raise ValueError(f"model_path must be given for the device '{self.name}'")

    @property
    def place(self) -> str:
        """Card and model, for errors."""
        return f"card {self.device_id} with '{self.model_path or self.spec.name}'"
