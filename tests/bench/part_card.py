"""Is the card busy? The timed device, whose own service time is the bound, fed with real photographs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.bench.findings import Findings
from tests.bench.material import BUILD, Material, images_of_size, network_640
from tests.bench.ray_jobs import JobRun, ray_session, run_job
from tests.bench.record import Figure, Goal, Table
from tests.bench.started_together import TogetherWorker, set_gate

ROUNDS = 5
SECONDS = 12.0
SIZE_HW = (480, 640)
CASES = ((1, 20.0, 98.0), (8, 90.0, 97.0))  # cards, service time in ms, goal in %


def measure(material: Material) -> Findings:
    figures: list[Figure] = []
    rows: list[tuple[str | float, ...]] = []
    for cards, service_ms, goal in CASES:
        with ray_session(cards):
            runs = [timed_job(material, cards, service_ms, seconds=SECONDS) for _ in range(ROUNDS)]
        bound = cards * 1e3 / service_ms
        steady = [run.steady_images_per_s(cards) for run in runs]
        figures.append(
            Figure(
                line="1",
                text=f"{cards} {'card' if cards == 1 else 'cards'} at {service_ms:.0f} ms: steady throughput over "
                "the device's bound",
                unit="%",
                values=tuple(100 * speed / bound for speed in steady),
                samples={"raysail": tuple(steady), "bound": (bound,) * ROUNDS},
                samples_unit="images/s",
                goal=Goal(at_least=goal),
            )
        )
        means = (float(values.mean()) for values in runs[-1].timings.stages.values())
        rows.append((f"{cards} × {service_ms:.0f} ms", *means))
    return Findings(
        title="The card is busy",
        figures=tuple(figures),
        tables=(
            Table(
                title="Wall time in the stages, ms an image",
                head=("cards", "read and decode", "letterbox", "device", "boxes"),
                rows=tuple(rows),
                note="the stages of different images run side by side",
            ),
        ),
    )


def timed_job(material: Material, cards: int, service_ms: float, *, seconds: float) -> JobRun:
    """A job of so many seconds at the device's bound, its actors started together."""
    path, _ = network_640(material)
    count = round(cards * seconds * 1e3 / service_ms)
    set_gate(cards)
    return run_job(
        worker=TogetherWorker,
        images=str(folder_of(images_of_size(material, SIZE_HW), count)),
        device="timed",
        service_ms=service_ms,
        cards=cards,
        conf=0.25,
        model=path,
        shard_deadline=300.0,
        **({"anchors": material.anchors} if material.anchors else {}),
    )


def folder_of(images: Sequence[Path], count: int) -> Path:
    """A folder with `count` links to the images."""
    folder = BUILD / "links"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:06d}.jpg").symlink_to(images[number % len(images)])
    return folder
