"""The driver alone: images are only names, and actors send made-up rows at once.

Each round starts its own actors on a session that is up; time runs from the call to the last commit, and to the last
label file where there are labels.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

from jobs.run.labels import write_labels
from tests.bench.findings import Findings
from tests.bench.material import BUILD, Material
from tests.bench.measure import tenths
from tests.bench.ray_jobs import JobRun, ray_session, run_job
from tests.bench.record import Figure, Goal, Table
from tests.bench.synthetic_worker import DETECTIONS, SyntheticWorker

ROUNDS = 5
IMAGES = 100_000
MANY = 1_000_000
CARDS = 2
GOALS = {"off": 5_000.0, "on": 2_500.0}
MEMORY_GOAL = 1.1
SAMPLE_EVERY_S = 0.2


def measure(material: Material) -> Findings:
    with ray_session(CARDS):
        rounds = [_round() for _ in range(ROUNDS)]
        memory, table = _memory()
    speeds = {
        "off": tuple(IMAGES / detect_s for detect_s, _ in rounds),
        "on": tuple(IMAGES / (detect_s + labels_s) for detect_s, labels_s in rounds),
    }
    figures = tuple(
        Figure(
            line="6",
            text=f"images/s committed by the driver, {DETECTIONS} detections each, labels {labels}",
            unit="images/s",
            values=speeds[labels],
            samples={
                "detect and commit": tuple(s for s, _ in rounds),
                "label files": tuple(s for _, s in rounds),
            },
            samples_unit=f"s for {IMAGES:,} images",
            goal=Goal(at_least=goal),
        )
        for labels, goal in GOALS.items()
    )
    return Findings(title="The driver", figures=(*figures, memory), tables=(table,))


def _list(count: int) -> Path:
    """A list of images that nobody opens."""
    path = BUILD / f"list-{count}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        names = (f"/nowhere/{number // 1000:04d}/{number:07d}.jpg\n" for number in range(count))
        path.write_text("".join(names), encoding="utf-8")
    return path


def _job(count: int) -> JobRun:
    return run_job(
        worker=SyntheticWorker,
        images=str(_list(count)),
        device="timed",
        service_ms=1.0,
        cards=CARDS,
        conf=0.25,
    )


def _round() -> tuple[float, float]:
    """Seconds to the last commit, and from there to the last label file."""
    job = _job(IMAGES)
    started = time.perf_counter()
    write_labels(job.run.log, job.run.store, label_format="yolo", spec=job.resolved.spec, device="timed")
    labels_s = time.perf_counter() - started
    shutil.rmtree(Path(job.run.store.place) / "labels")
    return job.wall_s, labels_s


class _Memory:
    """This process's resident memory over time, MB."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._end.wait(SAMPLE_EVERY_S):
            pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
            self.samples.append((time.time(), pages * page / 2**20))


def _memory() -> tuple[Figure, Table]:
    memory = _Memory()
    job = _job(MANY)
    memory.stop()
    commits = sorted(path.stat().st_mtime for path in (Path(job.run.store.place) / "images").iterdir())
    highest = tenths(memory.samples, commits)
    shutil.rmtree(job.run.store.place)
    figure = Figure(
        line="6",
        text=f"driver memory over {MANY:,} images: the last tenth's maximum over the second tenth's",
        unit="×",
        values=(highest[-1] / highest[1],),
        samples={"tenths": tuple(highest)},
        samples_unit="MB",
        goal=Goal(at_most=MEMORY_GOAL),
        note=f"one run, at {MANY / job.wall_s:,.0f} images/s",
    )
    table = Table(
        title="Driver memory, MB, the highest of each tenth of the images",
        head=tuple(f"{number}." for number in range(1, 11)),
        rows=(tuple(highest),),
    )
    return figure, table
