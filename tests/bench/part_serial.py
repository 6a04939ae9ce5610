"""Against the vendor sample's serial flow, both on a device of the same service time that answers with real heads.

On the vendor's ARM box the host is about four times as slow, and the card as fast: the same ratio of host to card is
had here by a device four times as fast.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import cv2

from tests.bench.busiest import PUBLISHED_CANDIDATES
from tests.bench.findings import Findings
from tests.bench.material import Material, Recorded, images_of_size, network_640, recorded_heads
from tests.bench.part_card import SIZE_HW, folder_of
from tests.bench.ray_jobs import ray_session, run_job
from tests.bench.record import Figure, Goal
from tests.bench.replay import ReplayDevice
from tests.bench.replay_worker import ANSWERS, BusyReplayWorker, ReplayWorker
from tests.bench.serial_peer import SerialSample

ROUNDS = 5
SERIAL_IMAGES = 96
SECONDS = 7.0
SERVICE_MS = 20.0
HOST_FACTOR = 4.0
GOALS = {0.25: 1.5, 0.001: 2.3}


def measure(material: Material) -> Findings:
    recorded = recorded_heads(material, ANSWERS)
    images = images_of_size(material, SIZE_HW)
    with ray_session(1):
        figures = [
            _figure(material, recorded, images, confidence, SERVICE_MS, goal=goal)
            for confidence, goal in GOALS.items()
        ]
        figures += [
            _figure(material, recorded, images, confidence, SERVICE_MS / HOST_FACTOR) for confidence in GOALS
        ]
        figures.append(
            _figure(
                material,
                BusyReplayWorker.recorded(),
                images,
                0.001,
                SERVICE_MS,
                goal=GOALS[0.001],
                worker=BusyReplayWorker,
            )
        )
    return Findings(title="Against the vendor sample's serial flow", figures=tuple(figures))


def _figure(
    material: Material,
    recorded: Recorded,
    images: Sequence[Path],
    confidence: float,
    service_ms: float,
    *,
    goal: float | None = None,
    worker: type[ReplayWorker] = ReplayWorker,
) -> Figure:
    samples: dict[str, list[float]] = {"sample": [], "raysail": []}
    for _ in range(ROUNDS):
        samples["sample"].append(serial_images_per_s(recorded, images, confidence, service_ms))
        samples["raysail"].append(_raysail(material, images, confidence, service_ms, worker))
    busy = worker is BusyReplayWorker
    what = f"device at {service_ms:.0f} ms, conf {confidence}{', busiest images' if busy else ''}"
    return Figure(
        line="2",
        text=f"{what}: Raysail's images/s over the sample's",
        unit="×",
        values=tuple(
            ours / theirs for ours, theirs in zip(samples["raysail"], samples["sample"], strict=True)
        ),
        samples={name: tuple(series) for name, series in samples.items()},
        samples_unit="images/s",
        goal=None if goal is None else Goal(at_least=goal),
        note=_note(service_ms, samples["raysail"], busy=busy),
    )


def _note(service_ms: float, speeds: Sequence[float], *, busy: bool) -> str:
    bound = 1e3 / service_ms
    notes = [f"Raysail is at {100 * statistics.median(speeds) / bound:.0f} % of what the device allows"]
    if busy:
        notes.append(
            f"images of {PUBLISHED_CANDIDATES} candidates on average, as many as the published figure is from"
        )
    if service_ms < SERVICE_MS:
        notes.append(f"the host's share is {HOST_FACTOR:.0f} times as large, as on the vendor's ARM box")
    return "; ".join(notes)


def serial_images_per_s(
    recorded: Recorded, images: Sequence[Path], confidence: float, service_ms: float
) -> float:
    """The sample's loop over the images, reading the files included; OpenCV has all its threads, as by default."""
    sample = SerialSample(recorded.spec, confidence=confidence)
    device = ReplayDevice(recorded.spec, recorded.heads, service_ms=service_ms)
    before = cv2.getNumThreads()
    cv2.setNumThreads(-1)
    started = time.perf_counter()
    for number in range(SERIAL_IMAGES):
        sample.detect(images[number % len(images)].read_bytes(), device.run)
    elapsed = time.perf_counter() - started
    cv2.setNumThreads(before)
    return SERIAL_IMAGES / elapsed


def _raysail(
    material: Material,
    images: Sequence[Path],
    confidence: float,
    service_ms: float,
    worker: type[ReplayWorker],
) -> float:
    path, _ = network_640(material)
    count = round(SECONDS * 1e3 / service_ms)
    run = run_job(
        worker=worker,
        images=str(folder_of(images, count)),
        device="timed",
        service_ms=service_ms,
        cards=1,
        conf=confidence,
        model=path,
        **({"anchors": material.anchors} if material.anchors else {}),
    )
    return run.steady_images_per_s(1)
