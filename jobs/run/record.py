"""run.json: what a run is, from its first moment on."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Literal, TypedDict

from pydantic import Field, ValidationError, field_validator

from bmodel.errors import RunError
from bmodel.sidecar import ModelSpec
from bmodel.validation import FrozenModel, first_fault
from cluster.pool.work import SlotState
from jobs.config.detect_config import DetectConfig
from jobs.inputs.image_sources import hide_secrets
from jobs.inputs.images import ImageList
from jobs.inputs.ran_model import ModelMetrics
from jobs.run.fingerprint import Fingerprint, fingerprint

RUN_SCHEMA_VERSION: Final = 1
VERSIONS_OF = (
    "raysail",
    "ray",
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "pyarrow",
    "hotcoco",
    "pycocotools",
)
PATH_OPTIONS = frozenset({"images", "model", "ground-truth", "class-names", "fault-file", "output"})


class WorkerRecord(FrozenModel):
    """Who worked on a card: the last worker of its slot that loaded the model.

    card: host/number. lock: the file that keeps other jobs off the card. other_users: processes that use it as well.
    """

    card: str
    node: str
    pid: int
    lock: str
    load_ms: float
    warmup_ms: float
    other_users: tuple[str, ...] = ()


class RunRecord(FrozenModel):
    """The content of run.json.

    started_s: seconds since the epoch, the zero of the rows' times.
    device: the device that the run uses, as resolved from `auto`.
    configuration: the options by their names on the command line, as given to the latest driver, paths absolute.
    model: the file that ran. spec: its network, with the class names of this run.
    versions: of the libraries that a figure depends on.
    shard_size: images per shard; None until the first driver has counted its cards. It stays when a run is resumed.
    cards: the cards (host/number) that the latest driver found. workers: who worked on them.
    on_simulator: whether a worker found that its card is the chip simulator.
    resumed: how many times the run was resumed.
    """

    schema_version: Literal[1] = RUN_SCHEMA_VERSION
    started_s: float = Field(allow_inf_nan=False)
    image_count: int = Field(ge=0)
    device: str
    fingerprint: Fingerprint
    configuration: dict[str, Any]
    model: ModelMetrics
    spec: ModelSpec
    versions: dict[str, str]
    shard_size: int | None = Field(default=None, ge=1)
    cards: tuple[str, ...] = ()
    workers: tuple[WorkerRecord, ...] = ()
    on_simulator: bool = False
    resumed: int = Field(default=0, ge=0)

    @field_validator("configuration")
    @classmethod
    def _names_its_images(cls, options: dict[str, Any]) -> dict[str, Any]:
        if "images" not in options:
            raise ValueError("images must say where the images are")
        return options

    @property
    def timing_device(self) -> str:
        """The device whose times the rows hold: not a card's where SAIL or libbmrt ran on the chip simulator."""
        return "simulator" if self.on_simulator else self.device

    @property
    def images_place(self) -> str:
        """Where the images are: a folder, a list or a URL."""
        return str(self.configuration["images"])

    @property
    def ground_truth(self) -> str | None:
        """The truth that the run was started with."""
        place = self.configuration.get("ground-truth")
        return None if place is None else str(place)

    def updated(self, changes: RunChanges) -> RunRecord:
        """Return the record with other values, validated."""
        return RunRecord.model_validate({**dict(self), **changes})

    def to_json(self) -> bytes:
        """The text of run.json; what is not known yet is left out."""
        content = self.model_dump(mode="json", by_alias=True)
        known = {name: value for name, value in content.items() if value is not None}
        return (json.dumps(known, indent=2, ensure_ascii=False) + "\n").encode()


class RunChanges(TypedDict, total=False):
    """What of a record changes while the run goes on."""

    configuration: dict[str, Any]
    shard_size: int
    cards: tuple[str, ...]
    workers: tuple[WorkerRecord, ...]
    on_simulator: bool
    resumed: int


def parse_record(data: bytes, place: str) -> RunRecord:
    """Read run.json; raises RunError naming the field, its rule and the place."""
    try:
        content = json.loads(data)
        found = content["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RunError(f"'{place}' is damaged: it must be a JSON object with schema_version") from None
    if found != RUN_SCHEMA_VERSION:
        raise RunError(f"schema_version must be {RUN_SCHEMA_VERSION}, got {found} in '{place}'")
    try:
        return RunRecord.model_validate(content)
    except ValidationError as error:
        raise RunError(f"'{place}' is damaged: {first_fault(error)}") from None


def new_record(
    config: DetectConfig, images: ImageList, *, device: str, ran: ModelMetrics, spec: ModelSpec
) -> RunRecord:
    """The record of a run that begins now."""
    return RunRecord(
        started_s=time.time(),
        image_count=len(images),
        device=device,
        fingerprint=fingerprint(
            config,
            device=device,
            model_sha256=ran.sha256,
            spec=spec,
            images_sha256=images.sha256(),
            image_count=len(images),
        ),
        configuration=_configuration(config),
        model=ran,
        spec=spec,
        versions=versions(),
    )


def worker_records(slots: Iterable[SlotState]) -> tuple[WorkerRecord, ...]:
    """The last worker of each card slot that loaded the model."""
    return tuple(
        WorkerRecord(
            card=f"{state.slot.host}/{state.slot.device_id}",
            node=state.slot.node_id,
            pid=state.info.pid,
            lock=state.info.lock,
            load_ms=round(state.info.load_ms, 1),
            warmup_ms=round(state.info.warmup_ms, 1),
            other_users=tuple(state.other_users),
        )
        for state in slots
        if state.info is not None
    )


def on_simulator(slots: Iterable[SlotState]) -> bool:
    """Whether a worker found that its card is the chip simulator: the run's times are none of a card's then."""
    return any(state.info is not None and state.info.on_simulator for state in slots)


def _configuration(config: DetectConfig) -> dict[str, Any]:
    """The options as given, but readable from any folder, and without the secrets in URLs."""
    options = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    for name in PATH_OPTIONS & options.keys():
        text = str(options[name])
        options[name] = hide_secrets(text) if "://" in text else os.path.abspath(text)  # noqa: PTH100 - links stay
    return options


def default_output(model_name: str) -> str:
    """A new folder under result/, named after the moment and the model."""
    return f"result/{time.strftime('%Y%m%d-%H%M%S')}-{model_name.split('.', maxsplit=1)[0]}"


def versions() -> dict[str, str]:
    """The versions that a figure depends on."""
    found = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a job's code travels without its distribution
            continue
    return found
