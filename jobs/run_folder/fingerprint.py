"""What makes two runs the same run: the options that change results, the image list, the model's bytes and sidecar."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from bmodel.errors import RunError
from bmodel.sidecar import ModelSpec
from jobs.configuration import DetectConfig

# Options that decide what is in the committed rows. The others may change between a run and its resumption;
# --limit shows in the image list.
DECIDING_OPTIONS = (
    "conf",
    "iou",
    "max_detections",
    "single_label",
    "anchors",
    "preprocess",
    "reduced_jpeg",
    "ignore_exif",
)


def fingerprint(
    config: DetectConfig,
    *,
    device: str,
    model_sha256: str,
    spec: ModelSpec,
    images_sha256: str,
    image_count: int,
) -> dict[str, Any]:
    """The deciding facts of a run by name, as they go into run.json."""
    options = {name.replace("_", "-"): getattr(config, name) for name in DECIDING_OPTIONS}
    return {
        **options,
        "device": device,
        "model": model_sha256,
        **_decoder(spec),
        "class-names": list(spec.class_names),
        "images": f"{image_count} images, list {images_sha256[:16]}",
    }


def _decoder(spec: ModelSpec) -> dict[str, str]:
    """What the sidecar or --anchors says of the way from pixels to boxes: the model's bytes do not hold it."""
    content = spec.model_dump(mode="json")
    return {
        "layout": spec.layout,
        "heads": f"{len(spec.heads)} heads, {_short_hash(content['heads'])}",
        "normalisation": _short_hash(content["normalisation"]),
    }


def _short_hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def check_same(before: dict[str, Any], now: dict[str, Any], place: str) -> None:
    """Raise RunError naming every fact that differs from the run to be resumed."""
    differing = [
        f"{name} was {_short(before.get(name))} and is now {_short(now.get(name))}"
        for name in sorted(set(before) | set(now))
        if before.get(name) != now.get(name)
    ]
    if differing:
        raise RunError(
            f"--resume needs the options the run was started with, and {'; '.join(differing)} in '{place}'"
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
