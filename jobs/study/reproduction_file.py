"""The file of `raysail reproduce`: a network, up to two image sets, and the figures that are expected of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from bmodel.errors import RaysailError
from bmodel.sidecar import Precision
from data.formats import FormatError, find_files, match_labels, plain_name, read_coco, shown
from data.ground_truth import read_ground_truth
from jobs.config.detect_config import DetectConfig
from jobs.config.paths import why_not_a_file
from jobs.config.yaml_file import OptionsModel
from jobs.inputs.images import list_images
from jobs.inputs.resolve import load_model
from jobs.measure.latency import ITimeSource
from jobs.study.run_once import config_of

SetName = Literal["b-set", "validation"]


class Network(OptionsModel):
    """The network whose figures were published. make: how to come by the file, shown when it is not there."""

    file: Path
    input_hw: tuple[int, int]
    precision: Precision
    batch: int = Field(gt=0)
    class_names: tuple[str, ...] = Field(min_length=1)
    make: str = ""


class ImageSet(OptionsModel):
    """One image set. about: what belongs there, shown when it is not. options: of `raysail detect`, for it alone."""

    images: str
    count: int = Field(gt=0)
    ground_truth: Path | None = None
    about: str = ""
    options: dict[str, Any] = Field(default_factory=dict)


class ExpectedMap(OptionsModel):
    """MAP at IoU 0.5, a fraction, by the protocol that `options` names for the score."""

    set: SetName
    published: float = Field(ge=0, le=1)
    tolerance: float = Field(ge=0)


class ExpectedTime(OptionsModel):
    """i_time, ms. source: where the figure must come from to be compared."""

    set: SetName
    published: float = Field(gt=0)
    tolerance: float = Field(ge=0)
    source: ITimeSource = "measured on BM1684"


class ExpectedScore(OptionsModel):
    """The score of the two above."""

    published: float
    tolerance: float = Field(ge=0)


class Expectations(OptionsModel):
    """The published figures; what is left out is not asked for."""

    map50: ExpectedMap | None = None
    i_time_ms: ExpectedTime | None = None
    score: ExpectedScore | None = None

    @model_validator(mode="after")
    def _score_needs_both(self) -> Expectations:
        if self.score is not None and (self.map50 is None or self.i_time_ms is None):
            raise ValueError("score needs map50 and i-time-ms beside it")
        return self


class Reproduction(OptionsModel):
    """The whole file. options: of `raysail detect`, for both sets."""

    title: str
    output: Path
    network: Network
    options: dict[str, Any] = Field(default_factory=dict)
    sets: dict[SetName, ImageSet] = Field(min_length=1)
    expectations: Expectations

    @model_validator(mode="after")
    def _sets_fit(self) -> Reproduction:
        expected = self.expectations
        for name, part in (("map50", expected.map50), ("i-time-ms", expected.i_time_ms)):
            if part is not None and part.set not in self.sets:
                raise ValueError(f"expectations.{name}.set: must be one of the sets, got '{part.set}'")
        if expected.map50 is not None and self.sets[expected.map50.set].ground_truth is None:
            raise ValueError(
                f"expectations.map50.set: must have ground-truth, and '{expected.map50.set}' has none"
            )
        return self


MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """ready: the sets that can run, with their jobs. absent: what to put where for the others. faults: one line each."""

    ready: dict[SetName, DetectConfig]
    absent: dict[SetName, str]
    faults: tuple[str, ...]


def prepare(file: Reproduction, *, place: Path, device: str | None, published: Path | None) -> Preparation:
    """Check network and sets; nothing runs and nothing is written.

    device: instead of the file's. published: the files handed in for the B set, whose names say which images belong
    to it. Raises ConfigurationError for options that are wrong whatever there is.
    """
    absent = {
        name: _where_to_put(name, part) for name, part in file.sets.items() if not _is_there(part.images)
    }
    present = [name for name in file.sets if name not in absent]
    faults = [
        fault
        for name in present
        for fault in _faults_of_set(
            name, file.sets[name], file.network.class_names, published if name == "b-set" else None
        )
    ]
    if reason := why_not_a_file(file.network.file):
        return Preparation(ready={}, absent=absent, faults=(_no_network(file.network, reason), *faults))
    configs = {name: _config(file, name, place=place, device=device) for name in file.sets}
    faults = [*_faults_of_network(file.network, next(iter(configs.values()))), *faults]
    return Preparation(ready={name: configs[name] for name in present}, absent=absent, faults=tuple(faults))


def _is_there(images: str) -> bool:
    if "://" in images:
        return True
    path = Path(images)
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _where_to_put(name: SetName, part: ImageSet) -> str:
    about = f" ({part.about})" if part.about else ""
    text = f"{name} is not there: put its {part.count} images{about} into '{part.images}'"
    return text if part.ground_truth is None else f"{text}, and their truth into '{part.ground_truth}'"


def _config(file: Reproduction, name: SetName, *, place: Path, device: str | None) -> DetectConfig:
    part = file.sets[name]
    own = {
        "images": part.images,
        "model": file.network.file,
        "output": str(file.output / name),
        "label-format": "competition",
        **({"ground-truth": str(part.ground_truth)} if part.ground_truth else {}),
    }
    options = {**file.options, **part.options, **({"device": device} if device else {})}
    return config_of(options, own, place=place)


def _no_network(network: Network, reason: str) -> str:
    how = f"; {network.make}" if network.make else ""
    return f"network.file: must be the network's BModel, and '{network.file}' {reason}{how}"


def _faults_of_network(network: Network, config: DetectConfig) -> list[str]:
    try:
        spec = load_model(config)
    except (FormatError, RaysailError) as error:
        return [str(error)]
    wanted, found = (tuple(map(plain_name, names)) for names in (network.class_names, spec.class_names))
    faults = []
    if len(found) != len(wanted):
        faults.append(
            f"class count: must be {len(wanted)} ({shown(wanted)}), got {len(found)} "
            f"({shown(found, MOST_NAMED)}) in '{network.file}'"
        )
    elif found != wanted:
        faults.append(f"class names: must be {shown(wanted)}, got {shown(found)} in '{network.file}'")
    return faults + [
        f"{name}: must be {getattr(network, name)}, as published, got {getattr(spec, name)} in '{network.file}'"
        for name in ("input_hw", "precision", "batch")
        if getattr(spec, name) != getattr(network, name)
    ]


def _faults_of_set(
    name: SetName, part: ImageSet, class_names: Sequence[str], published: Path | None
) -> list[str]:
    try:
        ids = list_images(part.images).image_ids.to_pylist()
        faults = [] if published is None else _unpaired(name, ids, published, "published file")
        if part.ground_truth is not None:
            faults += _faults_of_truth(name, ids, part.ground_truth, class_names)
    except (FormatError, RaysailError) as error:
        return [f"{name}: {error}"]
    if not faults and len(ids) != part.count:
        faults = [f"{name}: must have {part.count} images, got {len(ids)} in '{part.images}'"]
    return faults


def _faults_of_truth(name: SetName, ids: Sequence[str], truth: Path, class_names: Sequence[str]) -> list[str]:
    if truth.is_file():
        listed, known = dict.fromkeys(read_coco(truth).image_ids), set(ids)
        faults = [
            *_missing(name, [one for one in listed if one not in known], "image", truth),
            *_missing(name, [one for one in ids if one not in listed], "truth", truth),
        ]
    else:
        faults = _unpaired(name, ids, truth, "label")
    if not faults:  # a class that nobody knows, a line that cannot be read; any size will do to see that
        read_ground_truth(truth, images=dict.fromkeys(ids, (1, 1)), class_names=class_names)
    return faults


def _unpaired(name: SetName, ids: Sequence[str], folder: Path, kind: str) -> list[str]:
    """Images without their file in a folder of text files, and files there without their image."""
    files = find_files(folder, ".txt")
    matched = match_labels(ids, files, place=str(folder))
    owned = set(matched.values())
    return [
        *_missing(name, [f"{stem}.txt" for stem in files if stem not in owned], "image", folder),
        *_missing(name, [image_id for image_id in ids if image_id not in matched], kind, folder),
    ]


def _missing(name: SetName, partners: Sequence[str], kind: str, place: Path) -> list[str]:
    """What has no partner: for an image its label, for what stands in `place` its image."""
    if not partners:
        return []
    return [f"{name}: there is no {kind} for {shown(partners, MOST_NAMED)} in '{place}'"]
