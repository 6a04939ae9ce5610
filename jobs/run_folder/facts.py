"""What run.json says of a run when it begins, and where a run goes that nobody gave a place."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cluster.work import SlotState
from jobs.configuration import DetectConfig
from jobs.image_sources import hide_secrets
from jobs.images import ImageList
from jobs.prepare import Plan
from jobs.run_folder.fingerprint import fingerprint

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


def run_facts(config: DetectConfig, plan: Plan, images: ImageList) -> dict[str, Any]:
    """The content of run.json, all but the schema version, the shard size and the cards."""
    return {
        "started_s": time.time(),
        "image_count": len(images),
        "device": plan.device.name,
        "fingerprint": fingerprint(
            config,
            device=plan.device.name,
            model_sha256=plan.ran.sha256,
            spec=plan.spec,
            images_sha256=images.sha256(),
            image_count=len(images),
        ),
        "configuration": _configuration(config),
        "model": plan.ran.model_dump(mode="json"),
        "spec": plan.spec.model_dump(mode="json"),
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


def default_output(plan: Plan) -> str:
    """A new folder under result/, named after the moment and the model."""
    return f"result/{time.strftime('%Y%m%d-%H%M%S')}-{plan.ran.name.split('.')[0]}"


def versions() -> dict[str, str]:
    """The versions that a figure depends on."""
    found = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a job's code travels without its distribution
            continue
    return found
