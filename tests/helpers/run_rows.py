"""Builders of what a worker sends back, and of runs that are committed shard by shard, for tests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bmodel.sidecar import ModelSpec
from cluster.pool.results import ShardResult, shard_result
from cluster.pool.work import Shard
from jobs.config.detect_config import DetectConfig
from jobs.inputs.ran_model import model_metrics
from jobs.run.commit import CommitLog
from jobs.run.fingerprint import fingerprint
from jobs.run.folder import RunFolder
from jobs.run.record import RunRecord, versions
from tests.helpers.small_specs import head_spec
from tpu_worker.boxes import Detections
from tpu_worker.values import ImageFailure, ImageRef, ImageResult, StageTimes

NAMES = ("car", "person", "bike")
SIZE_HW = (120, 160)


def refs(count: int, *, suffix: str = ".jpg") -> list[ImageRef]:
    """`count` images in two folders."""
    return [
        ImageRef(
            index=number,
            image_id=f"{number % 2}/{number:04d}{suffix}",
            path=f"/nowhere/{number % 2}/{number:04d}{suffix}",
        )
        for number in range(count)
    ]


def detections_of(index: int) -> Detections:
    """What is found on an image: none on every fourth, else one to three boxes that depend on its index alone."""
    count = index % 4
    dice = np.random.default_rng(index)
    corner = dice.uniform(0, 60, (count, 2))
    return Detections(
        xyxy=np.concatenate([corner, corner + dice.uniform(5, 60, (count, 2))], axis=1).astype(np.float32),
        confidence=np.sort(dice.uniform(0.1, 1, count))[::-1].astype(np.float32),
        class_id=dice.integers(0, len(NAMES), count).astype(np.int32),
    )


def results_of(
    images: Sequence[ImageRef], *, failed: Collection[int] = (), ms: float = 10.0
) -> list[ImageResult]:
    """The images' results; those in `failed` could not be decoded."""
    return [
        ImageResult(
            image=image,
            size_hw=None if image.index in failed else SIZE_HW,
            detections=None if image.index in failed else detections_of(image.index),
            failure=ImageFailure(stage="read", reason="made up") if image.index in failed else None,
            times=StageTimes(read_ms=1, preprocess_ms=2, inference_ms=ms, postprocess_ms=3),
            started_s=1000.0 + image.index,
            finished_s=1000.5 + image.index,
        )
        for image in images
    ]


def rows_of(
    images: Sequence[ImageRef],
    *,
    failed: Collection[int] = (),
    card: str = "host/0",
    attempt: int = 1,
    ms: float = 10.0,
) -> ShardResult:
    """A worker's tables for consecutive images."""
    return shard_result(
        results_of(images, failed=failed, ms=ms),
        class_names=NAMES,
        batch_size=1,
        run_began_s=1000.0,
        card=card,
        attempt=attempt,
    )


def commit_all(
    log: CommitLog, images: Sequence[ImageRef], shards: Iterable[Shard], *, failed: Collection[int] = ()
) -> None:
    """Commit each shard of the images."""
    for shard in shards:
        log.add(shard, rows_of(images[shard.start : shard.stop], failed=failed), 1)


def record_of(
    image_count: int,
    /,
    *,
    spec: ModelSpec | None = None,
    device: str = "cpu",
    started_s: float = 1000.0,
    configuration: Mapping[str, object] | None = None,
    **deciding: Any,
) -> RunRecord:
    """The record of a run on so many images; deciding: what its fingerprint has instead of the usual."""
    spec = spec or head_spec().model_copy(update={"class_names": NAMES})
    options = {"images": "/nowhere", **(configuration or {})}
    usual = fingerprint(
        DetectConfig(images=str(options["images"]), device="timed", service_ms=1.0),
        device=device,
        model_sha256="0" * 64,
        spec=spec,
        images_sha256="0" * 64,
        image_count=image_count,
    )
    return RunRecord(
        started_s=started_s,
        image_count=image_count,
        device=device,
        fingerprint=usual.model_copy(update=deciding),
        configuration=options,
        model=model_metrics(spec, name="small.onnx", sha256="0" * 64),
        spec=spec,
        versions=versions(),
    )


def committed_ids(run: RunFolder) -> list[str]:
    """The ids in the committed rows, in the order of the commits."""
    return [name for table in run.log.tables("images") for name in table.column("image_id").to_pylist()]
