"""What makes two runs the same run: the facts that decide which rows are committed."""

from __future__ import annotations

import hashlib
import json

from pydantic import ConfigDict

from bmodel.errors import RunError
from bmodel.sidecar import ModelSpec
from bmodel.validation import FrozenModel
from jobs.config.detect_config import DetectConfig


class Fingerprint(FrozenModel):
    """The deciding facts of a run; in run.json their names have hyphens.

    The options here decide what is in the committed rows; all others may change between a run and its resumption, and
    --limit shows in the image list. A name that is not known is refused: it would decide something unseen.

    model: SHA-256 of the file that ran. layout, heads, normalisation: what the sidecar or --anchors says of the way
    from pixels to boxes, which the model's bytes do not hold. images: their number and a hash of their list.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )

    conf: float
    iou: float
    max_detections: int
    single_label: bool
    anchors: str | None
    preprocess: str
    reduced_jpeg: bool
    ignore_exif: bool
    device: str
    model: str
    layout: str
    heads: str
    normalisation: str
    class_names: tuple[str, ...]
    images: str


def fingerprint(
    config: DetectConfig,
    *,
    device: str,
    model_sha256: str,
    spec: ModelSpec,
    images_sha256: str,
    image_count: int,
) -> Fingerprint:
    """The fingerprint of a run with these options, this network and these images."""
    content = spec.model_dump(mode="json")
    return Fingerprint(
        conf=config.conf,
        iou=config.iou,
        max_detections=config.max_detections,
        single_label=config.single_label,
        anchors=config.anchors,
        preprocess=config.preprocess,
        reduced_jpeg=config.reduced_jpeg,
        ignore_exif=config.ignore_exif,
        device=device,
        model=model_sha256,
        layout=spec.layout,
        heads=f"{len(spec.heads)} heads, {_short_hash(content['heads'])}",
        normalisation=_short_hash(_normalisation_facts(content["normalisation"])),
        class_names=spec.class_names,
        images=f"{image_count} images, list {images_sha256[:16]}",
    )


def _normalisation_facts(normalisation: dict[str, object]) -> dict[str, object]:
    """Without the placement that runs of 0.1 had, so that they can be resumed."""
    return {name: value for name, value in normalisation.items() if (name, value) != ("placement", "centre")}


def _short_hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def check_same(before: Fingerprint, now: Fingerprint, place: str) -> None:
    """Raise RunError naming every fact that differs from the run to be resumed."""
    old, new = (one.model_dump(mode="json", by_alias=True) for one in (before, now))
    differing = [
        f"{name} was {_short(old[name])} and is now {_short(new[name])}"
        for name in sorted(old)
        if old[name] != new[name]
    ]
    if differing:
        raise RunError(
            f"--resume needs the options the run was started with, and {'; '.join(differing)} in '{place}'"
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
