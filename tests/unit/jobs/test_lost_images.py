"""The row of an image that no card could carry through says what is known, and no more."""

from __future__ import annotations

import pyarrow as pa
import pytest

from cluster.pool.pool import Outcome
from cluster.pool.results import ShardResult
from cluster.pool.work import Shard
from jobs.detect import _lost_image
from jobs.inputs.images import ImageList

IMAGES = ImageList(image_ids=pa.array(["a.jpg", "b.jpg"], pa.large_string()), own_paths=None, root="/nowhere")
NOT_KNOWN = "the worker died or hung at this image, in which stage is not known: "


@pytest.mark.parametrize(
    ("worker_ended", "reason"),
    [(False, "the device refuses"), (True, NOT_KNOWN + "the device refuses")],
)
def test_a_dead_workers_stage_is_said_to_be_unknown(worker_ended: bool, reason: str) -> None:
    outcome: Outcome[ShardResult] = Outcome(
        shard=Shard(1, 2), attempt=3, lost="the device refuses", worker_ended=worker_ended
    )
    [row] = _lost_image(outcome, IMAGES).images.to_pylist()
    assert (row["image_id"], row["status"], row["attempt"]) == ("b.jpg", "failed", 3)
    assert (row["stage"], row["reason"]) == ("inference", reason)
