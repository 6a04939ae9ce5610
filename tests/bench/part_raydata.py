"""The cpu device against Ray Data, and against the cores: photographs to committed rows, Ray up already.

`steady` leaves out the start of the actors, as in the bound, which knows none.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from tests.bench.findings import Findings
from tests.bench.material import BUILD, Material, repeated
from tests.bench.measure import cpu_s
from tests.bench.ray_jobs import JobRun, ray_session, run_job
from tests.bench.raydata_peer import Setting, as_documented, be_quiet, in_one_call
from tests.bench.record import Figure, Goal, Table
from tests.bench.started_together import TogetherWorker, set_gate
from tpu_worker.detector import DetectOptions, _Stages
from tpu_worker.devices import open_device
from tpu_worker.letterbox import InputWriter, Letterbox
from tpu_worker.read_image import ReadOptions, read_image

ROUNDS = 5
COUNT = 2048
CONFIDENCE = 0.25
GOAL_DOCUMENTED, GOAL_ONE_CALL, GOAL_CORES = 2.5, 1.25, 85.0
OUTPUT = BUILD / "raydata"


def measure(material: Material) -> Findings:
    cores = len(os.sched_getaffinity(0))
    folder = repeated(material, COUNT)
    setting = Setting(network=material.network, spec=material.spec, confidence=CONFIDENCE, actors=cores)
    paths = sorted(folder.iterdir())
    samples: dict[str, list[float]] = {"documented": [], "one call": [], "raysail": []}
    steady: list[float] = []
    bounds: list[float] = []
    stages: dict[str, float] = {}
    with ray_session(cores):
        be_quiet()
        for _ in range(ROUNDS):
            stages = stages_cpu_ms(material, setting)
            bounds.append(cores * 1e3 / sum(stages.values()))
            job = _job(material, folder, cores)
            samples["raysail"].append(COUNT / job.wall_s)
            steady.append(job.steady_images_per_s(cores))
            samples["one call"].append(
                COUNT / _seconds(lambda: in_one_call(paths, OUTPUT, setting), minimum_rows=COUNT)
            )
            samples["documented"].append(
                COUNT / _seconds(lambda: as_documented(folder, OUTPUT, setting), minimum_rows=COUNT)
            )
    against = [
        _against(samples, peer, text, goal)
        for peer, text, goal in (
            ("documented", "images/s over Ray Data as documented", GOAL_DOCUMENTED),
            ("one call", "images/s over Ray Data with the same stages in one map_batches", GOAL_ONE_CALL),
        )
    ]
    cores_figure = Figure(
        line="3",
        text="steady images/s over what the cores could do",
        unit="%",
        values=tuple(100 * speed / bound for speed, bound in zip(steady, bounds, strict=True)),
        samples={"raysail": tuple(steady), "bound": tuple(bounds)},
        samples_unit="images/s",
        goal=Goal(at_least=GOAL_CORES),
        note="the bound is each stage's CPU time measured alone, summed, divided by the cores",
    )
    table = Table(
        title="CPU time of the stages, each alone",
        head=("stage", "ms an image"),
        rows=tuple(stages.items()),
    )
    return Findings(
        title="Against Ray Data, and against the cores", figures=(*against, cores_figure), tables=(table,)
    )


def _against(samples: dict[str, list[float]], peer: str, text: str, goal: float) -> Figure:
    ours = samples["raysail"]
    return Figure(
        line="3",
        text=text,
        unit="×",
        values=tuple(a / b for a, b in zip(ours, samples[peer], strict=True)),
        samples={"raysail": tuple(ours), "Ray Data": tuple(samples[peer])},
        samples_unit="images/s",
        goal=Goal(at_least=goal),
    )


def _job(material: Material, folder: Path, cards: int) -> JobRun:
    set_gate(cards)
    return run_job(
        worker=TogetherWorker,
        images=str(folder),
        model=material.network,
        device="cpu",
        cards=cards,
        conf=CONFIDENCE,
        **({"anchors": material.anchors} if material.anchors else {}),
    )


def _seconds(run: Callable[[], None], *, minimum_rows: int) -> float:
    shutil.rmtree(OUTPUT, ignore_errors=True)
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    rows = sum(pq.read_metadata(path).num_rows for path in OUTPUT.rglob("*.parquet"))
    if rows < minimum_rows:
        raise RuntimeError(f"Ray Data should have written at least {minimum_rows} rows, got {rows}")
    return seconds


def stages_cpu_ms(material: Material, setting: Setting) -> dict[str, float]:
    """CPU time of each stage an image, measured alone on every photograph once."""
    cv2.setNumThreads(1)
    spec, device = setting.spec, open_device(setting.device)
    stages = _Stages(device, DetectOptions(conf=CONFIDENCE), None)
    images = [read_image(str(path), ReadOptions()) for path in material.images]
    fits = [Letterbox.fit(image.size_hw, spec.input_hw) for image in images]
    writer = InputWriter(spec.normalisation, spec.input_hw)
    batch = np.zeros((1, 3, *spec.input_hw), np.float32)

    def write() -> None:
        for image, fit in zip(images, fits, strict=True):
            writer.write(image.bgr, fit, batch[0], None)

    write()
    device.run(batch)
    answers = [device.run(batch) for _ in images]
    steps: dict[str, Callable[[], object]] = {
        "read and decode": lambda: [read_image(str(path), ReadOptions()) for path in material.images],
        "letterbox": write,
        "network": lambda: [device.run(batch) for _ in images],
        "boxes": lambda: [
            stages.postprocess(heads, 0, fit) for heads, fit in zip(answers, fits, strict=True)
        ],
    }
    found = {name: float(np.median([cpu_s(step) for _ in range(3)])) for name, step in steps.items()}
    device.close()
    return {name: seconds * 1e3 / len(images) for name, seconds in found.items()}
