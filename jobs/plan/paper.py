"""What a run of that many images leaves and holds besides detections: driver memory, files, records, and how many runs.

The figures an image, a shard and a detection were measured on this code with CPython 3.11 (docs/scale.md); they decide
how large one run should be, since one driver lists, commits and measures all of it.
"""

from __future__ import annotations

import math
from typing import Final

from jobs.plan.values import HostCosts, Value, Work

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
