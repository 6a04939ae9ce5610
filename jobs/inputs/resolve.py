"""What a detection job settles before Ray starts: model, device, classes, and whether the inputs are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bmodel.errors import ConfigurationError, LibraryError
from bmodel.files import file_sha256
from bmodel.model_file import has_class_names, load_spec
from bmodel.sidecar import ModelSpec
from cluster.cards.card_slots import card_numbers
from cluster.cards.find_cards import FoundCards, find_cards
from data.formats import FormatError, label_stems, read_coco
from data.ground_truth import read_ground_truth
from jobs.config.detect_config import DetectConfig
from jobs.config.paths import why_neither_file_nor_folder, why_not_a_file
from jobs.inputs.images import ImageList
from jobs.inputs.ran_model import ModelMetrics, model_metrics
from tpu_worker.detector import DetectOptions
from tpu_worker.devices import CARD_DEVICES, DeviceOptions, TimedOptions, resolve_device
from tpu_worker.devices.choose_device import cpu_model_path
from tpu_worker.devices.timed import standard_spec
from tpu_worker.values import MOST_PREPARE_THREADS


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedJob:
    """What a job has settled before Ray starts.

    ran: the file that really runs, the ONNX twin of a BModel on the CPU. cards_of_host: the real cards of this host
    that the job may use; none on a cluster that it joins, or where the device is said and is no card.
    """

    spec: ModelSpec
    device: DeviceOptions
    detect: DetectOptions
    ran: ModelMetrics
    cards_of_host: tuple[int, ...] = ()

    @property
    def needs_card(self) -> bool:
        """Whether the device is a real card."""
        return self.device.name in CARD_DEVICES


def load_model(config: DetectConfig) -> ModelSpec:
    """The network with its class names; raises ConfigurationError or ModelFileError."""
    if config.model is None:
        return standard_spec()
    names = read_class_names(config.class_names) if config.class_names else None
    spec = load_spec(config.model, anchors=config.anchors, class_names=names, layout=config.layout)
    if not has_class_names(spec) and (found := _names_from_truth(config, len(spec.class_names))):
        spec = load_spec(config.model, anchors=config.anchors, class_names=found, layout=config.layout)
    return spec


def check_ground_truth(config: DetectConfig, spec: ModelSpec, images: ImageList) -> None:
    """Read the truth once before anything runs: an error in it must not show after hours of detection.

    Raises ConfigurationError. On the timed device, whose boxes are made up, the truth is not used.
    """
    if config.ground_truth is None:
        return
    path = Path(config.ground_truth)
    if reason := why_neither_file_nor_folder(path):
        raise ConfigurationError(
            f"--ground-truth: must be a COCO JSON or a folder of labels, and '{path}' {reason}"
        )
    if config.device != "timed":
        # Sizes are known once the images are read. For what is checked here any will do.
        sizes = dict.fromkeys(images.image_ids.to_pylist(), (1, 1))
        with _format_errors_as_ours():
            read_ground_truth(path, images=sizes, class_names=spec.class_names)


def check_label_names(config: DetectConfig, images: ImageList) -> None:
    """Raise ConfigurationError when an image's label file can have no name: after detection it would be too late."""
    if config.label_format == "none":
        return
    try:
        label_stems(images.image_ids.to_pylist())
    except FormatError as error:
        raise ConfigurationError(f"--images: {error}; --label-format none writes no label files") from error


def resolve_job(config: DetectConfig, spec: ModelSpec, *, cards_of_cluster: int | None) -> ResolvedJob:
    """Settle the device; cards_of_cluster: real cards of the cluster that was joined, None for this host's own.

    Raises ConfigurationError, ModelFileError, LibraryError, or DeviceError when a card's driver does not answer.
    """
    found = _cards_of_host(config) if cards_of_cluster is None else None
    cards = len(found.device_ids) if found else cards_of_cluster or 0
    name = resolve_device(
        config.device,
        model_path=config.model,
        spec=spec,
        cards=cards,
        # A head or a client without cards has none of their libraries; a worker without them says so itself.
        on_this_host=cards_of_cluster is None,
        preprocess=config.preprocess,
    )
    if found and found.sail_error and name == "sail":
        raise LibraryError(f"device: {found.sail_error}")
    # On this host alone, its virtual cards share its cores; what other hosts have is not known here.
    threads = cores_each(config.cards or 1) if name == "cpu" and cards_of_cluster is None else None
    return ResolvedJob(
        spec=spec,
        device=DeviceOptions(
            name=name,
            spec=spec,
            model_path=config.model.resolve() if config.model else None,
            threads=threads,
            preprocess=config.preprocess,
            timed=TimedOptions(
                service_ms=config.service_ms or 0.0,
                # A worker's current folder is another one.
                fault_file=config.fault_file.resolve() if config.fault_file else None,
            ),
        ),
        detect=DetectOptions(
            conf=config.conf,
            iou=config.iou,
            max_detections=config.max_detections,
            single_label=config.single_label,
            ignore_exif=config.ignore_exif,
            reduced_jpeg=config.reduced_jpeg,
            prepare_threads=threads and min(threads, MOST_PREPARE_THREADS),
        ),
        ran=_ran(config.model, spec, name),
        cards_of_host=found.device_ids if found else (),
    )


def _cards_of_host(config: DetectConfig) -> FoundCards | None:
    """The cards of this host but for those to be left alone; None where no card is wanted, so that none is asked."""
    if config.device != "auto" and config.device not in CARD_DEVICES:
        return None
    found = find_cards(exclude=card_numbers(config.exclude) if config.exclude else ())
    if found.left_out and not found.device_ids:
        raise ConfigurationError(
            f"--exclude: must leave a card of this host, got {config.exclude}, all it has"
        )
    return found


def cores_each(cards: int) -> int:
    """The cores of this host that each of its virtual cards may use."""
    return max(1, len(os.sched_getaffinity(0)) // cards)


def _ran(model: Path | None, spec: ModelSpec, device: str) -> ModelMetrics:
    if model is None:
        return model_metrics(spec, name=spec.name, sha256=spec.file_sha256)
    path = cpu_model_path(model, spec) if device == "cpu" else model
    return model_metrics(spec, name=path.name, sha256=file_sha256(path))


def read_class_names(path: Path) -> tuple[str, ...]:
    """A text file with one class name per line, in the order of the class ids."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--class-names: cannot read '{path}': {error}") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names or len(set(names)) != len(names):
        raise ConfigurationError(f"--class-names: '{path}' must hold one name per line, none of them twice")
    return names


def _names_from_truth(config: DetectConfig, class_count: int) -> tuple[str, ...] | None:
    """A model that does not name its classes takes the names of a COCO JSON that has exactly as many."""
    path = Path(config.ground_truth or "")
    if path.suffix != ".json" or why_not_a_file(path):
        return None
    with _format_errors_as_ours():
        names = read_coco(path).category_names
    return names if len(names) == class_count else None


@contextmanager
def _format_errors_as_ours() -> Iterator[None]:
    try:
        yield
    except FormatError as error:
        raise ConfigurationError(f"--ground-truth: {error}") from error
