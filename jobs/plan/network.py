"""The network's time on a card: what its sidecar or the family's table predicts, or a figure that is given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from bmodel.errors import ConfigurationError
from bmodel.model_file import load_spec
from bmodel.sidecar import MODEL_SUFFIXES, SIDECAR_SUFFIX, ModelSpec, Precision, read_sidecar
from jobs.config.paths import why_not_a_file
from jobs.plan.values import CardTime, HostCosts, Value, Work
from jobs.study.sweep.run_sweep import read_predictions

PREDICTIONS: Final = Path("docs/results/latency.json")


def card_time_of_file(path: Path) -> tuple[CardTime, ModelSpec]:
    """The prediction in a BModel's sidecar; name either. Raises ConfigurationError without one."""
    spec = spec_of_file(path)
    if spec.latency is None:
        raise ConfigurationError(
            f"--model: has no predicted latency, so give the card's time by --i-time, in '{path}'"
        )
    return (
        CardTime(
            image_ms=spec.latency.corrected_ms / spec.batch,
            uncertainty_ms=spec.latency.uncertainty_ms / spec.batch,
            batch=spec.batch,
            network=spec.name,
            input_hw=spec.input_hw,
            precision=spec.precision,
            source="predicted by the compiler's schedule",
        ),
        spec,
    )


def spec_of_file(path: Path) -> ModelSpec:
    """A network's description, from its file with its sidecar, or from the sidecar alone."""
    if reason := why_not_a_file(path):
        raise ConfigurationError(
            f"--model: must be a model file, its sidecar or a name of the table, and '{path}' {reason}"
        )
    if path.name.endswith(SIDECAR_SUFFIX):
        return read_sidecar(path)
    if path.suffix.lower() not in MODEL_SUFFIXES:
        raise ConfigurationError(f"--model: must end in .bmodel, .onnx or {SIDECAR_SUFFIX}, got '{path}'")
    return load_spec(path)


def card_time_of_table(
    name: str, *, size: int, precision: Precision, batch: int, table: Path = PREDICTIONS
) -> CardTime:
    """The prediction for a network of the family; raises ConfigurationError with what the table has."""
    predictions = read_predictions(table).table
    found = predictions.get((name, (size, size), precision, batch))
    if found is None:
        known = sorted({f"{model} {hw[0]} {kind} {number}b" for model, hw, kind, number in predictions})
        told = ", ".join(known) if known else f"nothing, since '{table}' is not there"
        raise ConfigurationError(
            f"--model: '{name} {size} {precision} {batch}b' is no file and not in the table, which has {told}"
        )
    return CardTime(
        image_ms=found.ms,
        uncertainty_ms=found.uncertainty_ms,
        batch=batch,
        network=name,
        input_hw=(size, size),
        precision=precision,
        source="predicted by the compiler's schedule",
    )


# Peaks while the image list is made, from a text list and from a Parquet file of URLs of 43 characters an id.
LIST_BYTES: Final = 430
URL_LIST_BYTES: Final = 770
# A commit in memory with what its record was read from; its line in commits.jsonl.
COMMIT_BYTES: Final = 2_340
COMMIT_LINE_BYTES: Final = 387
# The four stage times and two moments of an image as metrics.json and the report gather them.
TIMES_BYTES: Final = 175
# A detection as mAP takes it, gathered and matched.
SCORED_BYTES: Final = 130
DRIVER_BASE_BYTES: Final = 400e6
LIST_S: Final = 12e-6
COMMIT_READ_S: Final = 39e-6


class Paperwork(Value):
    """Of each run when the images are split evenly over `runs`; a run is one driver and one folder.

    driver_bytes: its memory at most. part_files: images/ and detections/ together. list_s: to list the images.
    resume_s: to read the commits of a run that is nearly done. result_bytes: its Parquet files.
    """

    runs: int
    images: int
    shards: int
    driver_bytes: float
    scoring_bytes: float
    part_files: int
    commit_log_bytes: float
    list_s: float
    resume_s: float
    result_bytes: float


def paperwork(
    costs: HostCosts, work: Work, *, driver_memory_bytes: float, detections_per_image: float, runs: int | None
) -> Paperwork:
    """Split the images into as few runs as the driver's memory allows, or as many as are asked for."""
    runs = runs or _fewest_runs(work, driver_memory_bytes)
    images = math.ceil(work.images / runs)
    shards = math.ceil(images / work.shard_size)
    return Paperwork(
        runs=runs,
        images=images,
        shards=shards,
        driver_bytes=DRIVER_BASE_BYTES + _driver_bytes(images, work.shard_size),
        scoring_bytes=images * detections_per_image * SCORED_BYTES,
        part_files=2 * shards,
        commit_log_bytes=shards * COMMIT_LINE_BYTES,
        list_s=images * LIST_S,
        resume_s=images * LIST_S + shards * COMMIT_READ_S,
        result_bytes=images * costs.result_bytes,
    )


def _fewest_runs(work: Work, driver_memory_bytes: float) -> int:
    room = max(driver_memory_bytes - DRIVER_BASE_BYTES, 1.0)
    return max(1, math.ceil(_driver_bytes(work.images, work.shard_size) / room))


def _driver_bytes(images: int, shard_size: int) -> float:
    # The list's peak is over before the times are gathered; the larger of the two counts.
    return images * max(URL_LIST_BYTES, TIMES_BYTES) + images / shard_size * COMMIT_BYTES
