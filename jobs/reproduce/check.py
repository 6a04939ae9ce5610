"""What there is of a reproduction before anything runs: sets that are not there, and faults in those that are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bmodel.errors import RaysailError
from data.formats import FormatError, find_files, match_labels, plain_name, read_coco, shown
from data.ground_truth import read_ground_truth
from jobs.configuration import DetectConfig
from jobs.images import list_images
from jobs.job_file import config_of
from jobs.path_kind import why_not_a_file
from jobs.prepare import load_model
from jobs.reproduce.file import ImageSet, Network, Reproduction, SetName

MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """ready: the sets that can run, with their jobs. absent: what to put where for the others. faults: a line each."""

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
