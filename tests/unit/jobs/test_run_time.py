"""The time of a run that is resumed, where the clock of the host was set back or is far ahead."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cluster.pool.work import Shard
from jobs.detect import _run_time_s
from jobs.run.folder import begin_run
from jobs.run.store import LocalStore
from tests.helpers.run_rows import commit_all, record_of
from tpu_worker.values import ImageRef

REFS = [ImageRef(index=index, image_id=f"{index}.jpg", path=f"/nowhere/{index}.jpg") for index in range(4)]


@pytest.mark.parametrize(
    ("clock_ahead_s", "committed", "expected_s"),
    [(0, 0, 0.0), (-7200, 0, 0.0), (-7200, 4, 3.5), (7200, 4, 7200.0)],
)
def test_a_resumed_run_goes_on_after_what_is_committed(
    tmp_path: Path, clock_ahead_s: float, committed: int, expected_s: float
) -> None:
    """Image i of the committed ones ended i + 0.5 s after the run began; the last may be a failed one."""
    record = record_of(len(REFS), started_s=time.time() - clock_ahead_s)
    run = begin_run(LocalStore(tmp_path), resume=False, record=record)
    commit_all(run.log, REFS, [Shard(index, index + 1) for index in range(committed)], failed=[3])
    assert _run_time_s(run) == pytest.approx(expected_s, abs=5.0 if clock_ahead_s >= 0 else 1e-6)
