"""A host's costs, a card and a job, in round figures, for tests of the plan."""

from __future__ import annotations

from jobs.plan.values import CardTime, HostCosts, Work

COSTS = HostCosts(
    read_ms=2.0,
    preprocess_ms=2.0,
    postprocess_ms=1.0,
    handling_ms=1.0,
    driver_image_ms=0.02,
    driver_shard_ms=5.0,
    shard_ms=10.0,
    resident_cores=0.1,
    crowding=0.0,
    handover_ms=0.2,
    start_s=5.0,
    finish_image_ms=0.0,
    result_bytes=1_000,
    image_megapixels=1.0,
    input_megapixels=0.4,
    image_bytes=100_000,
    source="made up",
)
CARD = CardTime(
    image_ms=50.0, uncertainty_ms=5.0, network="n", input_hw=(640, 640), precision="fp32", source="given"
)
WORK = Work(images=1_000_000, shard_size=256)
