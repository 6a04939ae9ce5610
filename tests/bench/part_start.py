"""From the command to its end: `raysail --help`, and a local job of 8 images with where its time goes."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.bench.findings import Findings
from tests.bench.material import BUILD, Material
from tests.bench.part_card import folder_of
from tests.bench.ray_jobs import read_finished_ms
from tests.bench.record import Figure, Goal, Table
from tests.helpers.paths import ROOT

ROUNDS = 7
JOB_ROUNDS = 5
IMAGES = 8
STEPS = (
    "Python, imports, list and model",
    "Ray, actor, network, first image",
    "the other images",
    "commit, labels, figures, report",
    "Ray's end",
)


def measure(material: Material) -> Findings:
    helps = [_timed([*_raysail(), "--help"]) for _ in range(ROUNDS + 1)][1:]
    jobs = [_job(material) for _ in range(JOB_ROUNDS + 1)][1:]
    totals = tuple(sum(steps) for steps in jobs)
    medians = np.median(np.array(jobs), axis=0)
    figures = (
        Figure(
            line="8",
            text="raysail --help",
            unit="s",
            values=tuple(helps),
            goal=Goal(at_most=0.4),
        ),
        Figure(
            line="8",
            text=f"a local job of {IMAGES} images on the cpu device, from the command to its end",
            unit="s",
            values=totals,
            samples={step: tuple(job[place] for job in jobs) for place, step in enumerate(STEPS)},
            samples_unit="s",
            goal=Goal(at_most=12.0),
        ),
    )
    table = Table(
        title=f"Where the time of {IMAGES} images goes",
        head=("step", "s"),
        rows=tuple((step, float(seconds)) for step, seconds in zip(STEPS, medians, strict=True)),
    )
    return Findings(title="Start-up", figures=figures, tables=(table,))


def _raysail() -> list[str]:
    """The installed command, or else its module."""
    installed = Path(sys.executable).with_name("raysail")
    return [str(installed)] if installed.is_file() else [sys.executable, "-m", "jobs.command_line"]


def _timed(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - started


def _job(material: Material) -> tuple[float, ...]:
    """Seconds in each of the steps, told by what the run's folder holds."""
    output = BUILD / "runs" / "start"
    shutil.rmtree(output, ignore_errors=True)
    folder = folder_of(material.images, IMAGES)
    anchors = ["--anchors", material.anchors] if material.anchors else []
    options = [
        "--images",
        folder,
        "--model",
        material.network,
        *anchors,
        "--device",
        "cpu",
        "--output",
        output,
    ]
    started = time.time()
    _timed([*_raysail(), "detect", *map(str, options)])
    ended = time.time()
    run_began = float(json.loads((output / "run.json").read_bytes())["started_s"])
    finished_ms = read_finished_ms(output)
    moments = (
        started,
        run_began,
        run_began + finished_ms[0] / 1e3,
        run_began + finished_ms[-1] / 1e3,
        (output / "_SUCCESS").stat().st_mtime,
        ended,
    )
    return tuple(later - earlier for earlier, later in itertools.pairwise(moments))
