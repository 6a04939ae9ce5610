"""Times of a run from many hosts: their wall clocks may be wrong by hours or stepped, and no figure changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.pool.run_clock import RunClock
from tests.helpers.paths import ROOT

FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


@pytest.mark.parametrize("uptime_s", [0.0, 40.0, 1e7])
def test_the_runs_begin_is_found_whatever_the_clocks_zero(uptime_s: float) -> None:
    arrivals = iter([uptime_s + 10.0 + way_s for way_s in (0.05, 0.002)])
    clock = RunClock(lambda: next(arrivals))
    assert clock.received(10.0) == pytest.approx(uptime_s + 0.05)
    assert clock.received(10.0) == pytest.approx(uptime_s + 0.002)


def test_a_late_message_does_not_move_it() -> None:
    arrivals = iter([5.001, 9.0, 12.002])
    clock = RunClock(lambda: next(arrivals))
    began = [clock.received(sent_s) for sent_s in (5.0, 6.0, 12.0)]
    assert began == pytest.approx([0.001] * 3)


STEPPED = """
import json, os, sys, time
from pathlib import Path
from cluster.pool.results import shard_result
from cluster.pool.run_clock import RunClock
from tests.helpers.job_runs import write_pictures
from tests.helpers.small_specs import head_spec
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices import DeviceOptions, open_device
from tpu_worker.devices.options import TimedOptions
from tpu_worker.values import ImageRef

folder, stepped = Path(sys.argv[1]), Path(os.environ["FAKETIME_TIMESTAMP_FILE"])
paths = sorted(write_pictures(folder / "pictures", 8).iterdir())
refs = [ImageRef(index=index, image_id=path.name, path=str(path)) for index, path in enumerate(paths)]
spec = head_spec()
options = DeviceOptions(name="timed", spec=spec, model_path=None, timed=TimedOptions(service_ms=5))
detector, clock, began, shown = Detector(open_device(options), DetectOptions()), RunClock(), time.monotonic(), []
for step in ("+5h", "-3d", "+2d"):
    stepped.write_text(step)
    sent_s = time.monotonic() - began
    run_began_s = clock.received(sent_s)
    results = detector.detect(refs)
    rows = shard_result(
        results, class_names=spec.class_names, batch_size=1, run_began_s=run_began_s,
        card="a/0", attempt=1,
    ).images
    shown.append({
        "sent_ms": sent_s * 1000, "ended_ms": (time.monotonic() - began) * 1000, "wall_s": time.time(),
        "started_ms": rows.column("started_ms").to_pylist(), "finished_ms": rows.column("finished_ms").to_pylist(),
    })
print(json.dumps(shown))
"""


@pytest.mark.skipif(not FAKETIME, reason="faketime is not installed (Debian's package faketime)")
def test_a_host_whose_clock_is_wrong_and_stepped_tells_the_same_times(tmp_path: Path) -> None:
    stepped = tmp_path / "clock"
    stepped.write_text("+5h", encoding="utf-8")
    environment = {
        "LD_PRELOAD": str(FAKETIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(stepped),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", STEPPED, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown[1]["wall_s"] < shown[0]["wall_s"], "the clock was stepped"
    for shard in shown:
        assert shard["sent_ms"] <= min(shard["started_ms"])
        assert max(shard["finished_ms"]) <= shard["ended_ms"]
        assert all(a <= b for a, b in zip(shard["started_ms"], shard["finished_ms"], strict=True))
