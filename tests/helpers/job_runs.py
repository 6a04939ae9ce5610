"""Runs of the real job as people start them, and what their folders hold, for tests."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.command_line import main
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S, start_process

TINY_ONNX = ROOT / "models" / "tiny.onnx"
TINY_BMODEL = ROOT / "bmodel" / "tiny_fp32_1b.bmodel"
# What differs between two runs that found the same: when, where, and how long it took.
CIRCUMSTANCES = (
    *("read_ms", "preprocess_ms", "inference_ms", "postprocess_ms", "started_ms", "finished_ms"),
    *("batch", "card", "attempt"),
)


def start_job(
    *options: object,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    start_new_session: bool = False,
) -> subprocess.Popen[str]:
    """Start `raysail detect` with these options; it ends with the test at the latest."""
    return start_process(
        [sys.executable, "-m", "jobs.detect", *map(str, options)],
        folder=folder,
        environment={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=start_new_session,
    )


def run_job(
    *options: object, environment: Mapping[str, str] | None = None, timeout: float = HANG_S
) -> subprocess.CompletedProcess[str]:
    """Run `raysail detect` with these options to its end."""
    process = start_job(*options, environment=environment)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"the job did not end within {timeout} s:\n{out}\n{err}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run_here(*words: object) -> subprocess.CompletedProcess[str]:
    """Run `raysail …` in this process, for tests that look at files, words and the exit code, and kill nobody.

    It spares the start of a Python with Ray. The token of a cluster is in this process's environment already (see
    `cluster` in tests/ray/conftest.py).
    """
    arguments = [str(word) for word in words]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main(arguments)
    code = end.value.code
    return subprocess.CompletedProcess(
        arguments, code if isinstance(code, int) else 0, out.getvalue(), err.getvalue()
    )


def finished(*options: object, environment: Mapping[str, str] | None = None, timeout: float = HANG_S) -> str:
    """Run a job that must succeed; returns its standard output."""
    done = run_job(*options, environment=environment, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def finished_here(*options: object) -> str:
    """As `finished`, in this process."""
    done = run_here("detect", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(run: Path, folder: str) -> pa.Table:
    """The rows of every part file of 'images' or 'detections', whatever the commits say, in file order."""
    parts = sorted((run / folder).glob("part-*.parquet"))
    return pa.concat_tables([pq.read_table(part) for part in parts], promote_options="permissive")


def findings(run: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of both tables without circumstances, in order."""
    images = rows(run, "images")
    kept = [name for name in images.column_names if name not in CIRCUMSTANCES]
    return images.select(kept).to_pylist(), rows(run, "detections").to_pylist()


def assert_each_once(run: Path, count: int) -> None:
    """Every image of the run has exactly one row, in order, by the Parquet files alone."""
    assert rows(run, "images").column("index").to_pylist() == list(range(count))


def metrics(run: Path) -> dict[str, Any]:
    """metrics.json."""
    return dict(json.loads((run / "metrics.json").read_text(encoding="utf-8")))


def commit_count(run: Path) -> int:
    """Shards committed so far."""
    path = run / "commits.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_commits(
    run: Path, count: int, process: subprocess.Popen[str], *, timeout: float = HANG_S
) -> None:
    """Wait until a run in progress has committed that many shards."""
    deadline = time.monotonic() + timeout
    while commit_count(run) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{commit_count(run)} commits after {timeout} s"
        time.sleep(0.02)


def write_pictures(folder: Path, count: int, *, size_hw: tuple[int, int] = (72, 96)) -> Path:
    """Small JPEGs of coloured rectangles that differ from one another, in two sub-folders."""
    dice = np.random.default_rng(count)
    for number in range(count):
        picture = np.full((*size_hw, 3), dice.integers(40, 200, 3), np.uint8)
        for _ in range(6):
            x, y, w, h = (int(value) for value in dice.integers(2, 60, 4))
            colour = tuple(int(value) for value in dice.integers(0, 255, 3))
            cv2.rectangle(picture, (x, y), (x + w, y + h), colour, -1)
        path = folder / ("ab"[number % 2]) / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), picture)
    return folder


def options_of(values: Mapping[str, object]) -> Sequence[str]:
    """Options as a command line takes them."""
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]
