"""What run.json says of a run when it begins, and where a run goes that nobody gave a place."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bmodel.errors import RunError
from bmodel.sidecar import ModelSpec
from cluster.pool.work import SlotState
from jobs.config.detect_config import DetectConfig
from jobs.inputs.image_sources import hide_secrets
from jobs.inputs.images import ImageList
from jobs.inputs.resolve import ResolvedJob

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


def run_facts(config: DetectConfig, job: ResolvedJob, images: ImageList) -> dict[str, Any]:
    """The content of run.json, all but the schema version, the shard size and the cards."""
    return {
        "started_s": time.time(),
        "image_count": len(images),
        "device": job.device.name,
        "fingerprint": fingerprint(
            config,
            device=job.device.name,
            model_sha256=job.ran.sha256,
            spec=job.spec,
            images_sha256=images.sha256(),
            image_count=len(images),
        ),
        "configuration": _configuration(config),
        "model": job.ran.model_dump(mode="json"),
        "spec": job.spec.model_dump(mode="json"),
        "versions": versions(),
    }


def worker_facts(slots: Iterable[SlotState]) -> list[dict[str, Any]]:
    """Who worked on which card, for run.json: the last worker of each card slot that got as far as that."""
    return [
        {
            "card": f"{state.slot.host}/{state.slot.device_id}",
            "node": state.slot.node_id,
            "pid": state.info.pid,
            "lock": state.info.lock,
            "load_ms": round(state.info.load_ms, 1),
            "warmup_ms": round(state.info.warmup_ms, 1),
            "other_users": state.other_users,
        }
        for state in slots
        if state.info is not None
    ]


def on_simulator(slots: Iterable[SlotState]) -> bool:
    """Whether a worker found that its card is the chip simulator: the run's times are none of a card's then."""
    return any(state.info is not None and state.info.on_simulator for state in slots)


def _configuration(config: DetectConfig) -> dict[str, Any]:
    """The options as they were given, but readable from any folder, and without the secrets in URLs."""
    options = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    for name in PATH_OPTIONS & options.keys():
        text = str(options[name])
        options[name] = hide_secrets(text) if "://" in text else os.path.abspath(text)  # noqa: PTH100 - links stay
    return options


def default_output(job: ResolvedJob) -> str:
    """A new folder under result/, named after the moment and the model."""
    return f"result/{time.strftime('%Y%m%d-%H%M%S')}-{job.ran.name.split('.')[0]}"


def versions() -> dict[str, str]:
    """The versions that a figure depends on."""
    found = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a job's code travels without its distribution
            continue
    return found


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
