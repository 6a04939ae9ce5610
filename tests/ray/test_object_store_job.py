"""A job whose images and whose results lie in an object store, on a real S3 server; killed, and gone on with."""

from __future__ import annotations

import io
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.helpers.job_runs import TINY_ONNX, finished, options_of, start_job
from tests.helpers.object_store import KEY, S3, SECRET, s3_server
from tests.helpers.processes import HANG_S
from tests.ray.conftest import SharedCluster


@pytest.fixture(scope="module")
def s3(pictures: Path) -> Iterator[S3]:
    with s3_server() as server:
        server.upload(pictures, "pictures")
        yield server


def test_a_run_in_an_object_store_survives_its_driver(
    s3: S3, pictures: Path, cluster: SharedCluster, tmp_path: Path
) -> None:
    options = {
        "images": s3.url("pictures"),
        "model": TINY_ONNX,
        "device": "timed",
        "service-ms": 1000,
        "shard-size": 2,
        "cards": 2,
        "output": s3.url("runs/one"),
        "address": cluster.address,
    }
    process = start_job(*options_of(options), "--resume", environment=cluster.environment)
    deadline = time.monotonic() + HANG_S
    while len(s3.keys("runs/one/commits/")) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    commits = s3.keys("runs/one/commits/")
    assert len(commits) < 20, "it was killed in mid-run"
    assert "_SUCCESS" not in s3.keys("runs/one/")

    said = finished(*options_of({**options, "service-ms": 5}), "--resume", environment=cluster.environment)
    assert "40 ok of 40" in said
    keys = s3.keys("runs/one/")
    assert {"run.json", "metrics.json", "_SUCCESS"} <= set(keys)
    names = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.jpg"))
    rows = [row for part in s3.parts("runs/one/images") for row in read(s3, f"runs/one/images/{part}")]
    assert [row["index"] for row in rows] == list(range(40)), "each image once, by the Parquet objects alone"
    assert [row["image_id"] for row in rows] == names
    assert {row["status"] for row in rows} == {"ok"}
    labels = [key for key in keys if key.startswith("labels/")]
    assert sorted(labels) == [f"labels/{name[:-4]}.txt" for name in names]
    boxes = sum(s3.get(f"runs/one/{key}").count(b"\n") for key in labels)
    assert boxes == json.loads(s3.get("runs/one/metrics.json"))["detections"] > 0
    for text in (said, s3.get("runs/one/run.json").decode()):
        assert KEY not in text
        assert SECRET not in text


def read(s3: S3, key: str) -> list[dict[str, object]]:
    return list(pq.read_table(io.BytesIO(s3.get(key))).to_pylist())
