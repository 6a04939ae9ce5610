"""Times a host's work on this machine: the stages of a worker, and what the driver does with its tables.

A worker's images go through a real Detector whose device does nothing for as long as a fast card would, so that the
threads meet the caches as they find them beside a card. Where the network can run here, its own outputs are decoded;
else the timed device's, which holds eight boxes per image.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from bmodel.errors import ConfigurationError, RaysailError
from bmodel.sidecar import ModelSpec
from cluster.pool.results import ShardResult, shard_result
from cluster.pool.work import Shard
from jobs.config.paths import why_neither_file_nor_folder
from jobs.inputs.images import list_images
from jobs.plan.values import HostCosts
from jobs.run.commit import CommitLog
from jobs.run.store import open_store
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices import DeviceOptions, TimedOptions, open_device
from tpu_worker.devices.choose_device import cpu_model_path
from tpu_worker.values import ImageRef, ImageResult

IMAGES: Final = 200
OUTPUT_IMAGES: Final = 48
WARM_UP: Final = 12
SERVICE_MS: Final = 12.0
LARGE_SHARD: Final = 100
SMALL_SHARD: Final = 10


def measure_host(
    images: str, *, spec: ModelSpec, options: DetectOptions, model: Path | None, defaults: HostCosts
) -> HostCosts:
    """Measure on a set of images; what takes a whole cluster to measure is taken from `defaults`.

    model: the network's file; where the CPU can run it, its own outputs are decoded. Raises ConfigurationError when
    not one of the images can be read.
    """
    refs = _refs(images)
    cpu_ms, results = _worker(refs, spec, options)
    went_through = [result for result in results if result.failure is None]
    if not went_through:
        raise ConfigurationError(f"--measure: not one of the images of '{images}' can be read")
    stages = _mean_stages(went_through)
    # Stages are timed by the clock, which goes on while other processes have the core: no more of it than was worked.
    worked = min(1.0, cpu_ms / sum(stages.values()))
    stages = {stage: value * worked for stage, value in stages.items()}
    handling_ms = cpu_ms - sum(stages.values())
    has_outputs = model is not None and _runs_here(model, spec)
    if model is not None and has_outputs:
        results = _with_outputs(refs[:OUTPUT_IMAGES], spec, options, model)
        went_through = [result for result in results if result.failure is None]
        stages["postprocess"] = _mean_stages(went_through)["postprocess"]
    boxes = "the network's own outputs decoded" if has_outputs else "eight made-up boxes per image decoded"
    image_ms, shard_ms, result_bytes = _driver(went_through, spec)
    return defaults.model_copy(
        update={
            **{f"{stage}_ms": value for stage, value in stages.items()},
            "handling_ms": handling_ms,
            # A commit is a part of what the driver does; in `defaults` is all of it.
            "driver_image_ms": max(image_ms, defaults.driver_image_ms),
            "driver_shard_ms": max(shard_ms, defaults.driver_shard_ms),
            "result_bytes": result_bytes,
            "image_megapixels": _mean([_pixels(result) for result in went_through]) / 1e6,
            "input_megapixels": spec.input_hw[0] * spec.input_hw[1] / 1e6,
            "image_bytes": _mean([Path(ref.path).stat().st_size for ref in refs]),
            "source": f"measured on this machine by raysail plan --measure on {len(refs)} images of '{images}', {boxes}",
        }
    )


def _refs(images: str) -> list[ImageRef]:
    if reason := why_neither_file_nor_folder(Path(images)):
        raise ConfigurationError(f"--measure: must be images on this machine, and '{images}' {reason}")
    listed = list_images(images, limit=IMAGES)
    local = [ref for ref in listed.refs(0, len(listed)) if Path(ref.path).is_file()]
    if not local:
        raise ConfigurationError(f"--measure: must be images on this machine, and '{images}' are not")
    return local


def _worker(
    refs: Sequence[ImageRef], spec: ModelSpec, options: DetectOptions
) -> tuple[float, list[ImageResult]]:
    """CPU time per image of everything that a worker does, and the results with their stage times."""
    repeated = list(islice(cycle(refs), max(IMAGES, len(refs))))
    device = open_device(
        DeviceOptions(
            name="timed", spec=spec, model_path=None, timed=TimedOptions(service_ms=SERVICE_MS * spec.batch)
        )
    )
    with Detector(device, options) as detector:
        detector.detect(repeated[:WARM_UP])
        began = time.process_time()
        results = detector.detect(repeated)
        _table(results, spec)
        spent_s = time.process_time() - began
    return spent_s * 1000 / len(repeated), results


def _runs_here(model: Path, spec: ModelSpec) -> bool:
    try:
        cpu_model_path(model, spec)
    except RaysailError:
        return False
    return True


def _with_outputs(
    refs: Sequence[ImageRef], spec: ModelSpec, options: DetectOptions, model: Path
) -> list[ImageResult]:
    """One image after another, so that nothing runs beside the decoding of real outputs."""
    device = open_device(DeviceOptions(name="cpu", spec=spec, model_path=model))
    with Detector(device, options) as detector:
        detector.detect(refs[:2])
        return [result for ref in refs for result in detector.detect([ref])]


def _driver(results: Sequence[ImageResult], spec: ModelSpec) -> tuple[float, float, float]:
    """CPU time of a commit, ms per image and ms per shard, from shards of two sizes; and its bytes per image."""
    spent = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in (SMALL_SHARD, LARGE_SHARD):
            place = Path(folder) / str(size)
            log = CommitLog(open_store(str(place)))
            shards = [_numbered(results, shard, spec) for shard in _shards(size)]
            began = time.process_time()
            for shard, table in zip(_shards(size), shards, strict=True):
                log.add(shard, table, 1)
            spent[size] = (time.process_time() - began) * 1000 / len(shards)
        written = sum(path.stat().st_size for path in place.rglob("*.parquet"))
    image_ms = max(0.0, (spent[LARGE_SHARD] - spent[SMALL_SHARD]) / (LARGE_SHARD - SMALL_SHARD))
    return (
        image_ms,
        max(0.0, spent[SMALL_SHARD] - image_ms * SMALL_SHARD),
        written / (IMAGES // LARGE_SHARD * LARGE_SHARD),
    )


def _shards(size: int) -> list[Shard]:
    return [Shard(start, start + size) for start in range(0, IMAGES // LARGE_SHARD * LARGE_SHARD, size)]


def _numbered(results: Sequence[ImageResult], shard: Shard, spec: ModelSpec) -> ShardResult:
    """The results, over and over, as those of a shard's images."""
    chosen = [results[index % len(results)] for index in range(shard.start, shard.stop)]
    return _table(
        [
            replace(result, image=ImageRef(index=index, image_id=f"images/{index:010}.jpg", path="-"))
            for index, result in enumerate(chosen, shard.start)
        ],
        spec,
    )


def _table(results: Sequence[ImageResult], spec: ModelSpec) -> ShardResult:
    return shard_result(
        results, class_names=spec.class_names, batch_size=spec.batch, run_began_s=0.0, card="-", attempt=1
    )


def _mean_stages(results: Sequence[ImageResult]) -> dict[str, float]:
    return {
        stage: _mean([getattr(result.times, f"{stage}_ms") for result in results])
        for stage in ("read", "preprocess", "postprocess")
    }


def _pixels(result: ImageResult) -> float:
    height, width = result.size_hw or (0, 0)
    return float(height * width)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
