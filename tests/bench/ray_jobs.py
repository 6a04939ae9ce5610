"""The real job inside a Ray session that is up already, and what its committed rows say about speed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cluster.cards.card_slots import card_resources
from cluster.cards.job_cards import JobCards
from cluster.connect import connected, nothing_on_stdout
from cluster.pool.worker import CardWorker
from jobs.config.detect_config import parse_config
from jobs.console.stop_signals import stoppable
from jobs.detect import _detect_images
from jobs.inputs.images import list_images
from jobs.inputs.resolve import ResolvedJob, load_model, resolve_job
from jobs.measure.latency import Timings, timings_of
from jobs.run.folder import RunFolder, begin_run, open_run
from jobs.run.image_columns import read_images
from jobs.run.record import new_record
from jobs.run.store import open_store
from tests.bench.material import BUILD

RUNS = BUILD / "runs"


@contextmanager
def ray_session(cards: int) -> Iterator[None]:
    """A local cluster with so many virtual cards, as a job starts it for itself."""
    with connected(None, local_resources=card_resources(range(cards), virtual=True)):
        yield


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRun:
    """wall_s: from the call to the last commit, actors' start included. card_names: (N,) which card had each image.

    What is read later of `run` is that of the next run, where both have one name.
    """

    wall_s: float
    run: RunFolder
    card_names: NDArray[np.str_]
    resolved: ResolvedJob
    timings: Timings

    @property
    def image_count(self) -> int:
        return len(self.timings.finished_ms)

    def steady_images_per_s(self, cards: int) -> float:
        """Images a second in the steady span."""
        [speed] = self.steady_windows(cards, 1)
        return speed

    def steady_windows(self, cards: int, count: int) -> tuple[float, ...]:
        """Images a second in so many equal parts of the steady span."""
        edges = np.linspace(*self._steady_span_ms(cards), count + 1)
        inside, _ = np.histogram(self.timings.finished_ms, edges)
        return tuple(float(speed) for speed in inside / np.diff(edges) * 1e3)

    def steady_span_s(self, cards: int) -> tuple[float, float]:
        """The steady span in seconds since the epoch."""
        low, high = self._steady_span_ms(cards)
        began = self.run.record.started_s
        return began + low / 1e3, began + high / 1e3

    def _steady_span_ms(self, cards: int) -> tuple[float, float]:
        """The middle four fifths of the time in which every card was at work."""
        begins, ends = self._cards_at_work(cards)
        margin = (ends - begins) * 0.1
        return begins + margin, ends - margin

    def _cards_at_work(self, cards: int) -> tuple[float, float]:
        known = np.unique(self.card_names)
        if len(known) != cards:
            raise RuntimeError(f"{cards} cards should have worked, and {len(known)} did")
        finished = [self.timings.finished_ms[self.card_names == name] for name in known]
        return max(float(times.min()) for times in finished), min(float(times.max()) for times in finished)


def run_job(*, worker: type = CardWorker, name: str = "run", **options: object) -> JobRun:
    """Run the job's own steps in the session; options as on the command line, with underscores."""
    folder = RUNS / name
    shutil.rmtree(folder, ignore_errors=True)
    given = {key.replace("_", "-"): value for key, value in options.items()}
    config = parse_config({"output": str(folder), "label-format": "none", **given})
    images = list_images(config.images, limit=config.limit)
    job = resolve_job(config, load_model(config), cards_of_cluster=None)
    run = begin_run(
        open_store(str(folder)),
        resume=False,
        record=new_record(config, images, device=job.device.name, ran=job.ran, spec=job.spec),
    )
    cards = JobCards(most=config.cards, needs_real=False)
    with stoppable() as stop, nothing_on_stdout():
        started = time.perf_counter()
        _detect_images(config, job, images, run, cards, stop, worker)
        wall_s = time.perf_counter() - started
    run.log.verify_coverage(len(images))
    return JobRun(
        wall_s=wall_s,
        run=run,
        card_names=np.array(
            [name for table in run.log.tables("images") for name in table["card"].to_pylist()]
        ),
        resolved=job,
        timings=timings_of(read_images(run.log.tables("images")).columns),
    )


def read_finished_ms(folder: Path) -> list[float]:
    """When the images of a run ended, in order, ms since the run began."""
    times = timings_of(read_images(open_run(str(folder)).log.tables("images")).columns).finished_ms
    return [float(time_ms) for time_ms in np.sort(times)]
