"""What an image costs the host, in CPU time: everything but the device, against the least that any host must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cluster.pool.results import shard_result
from tests.bench.findings import Findings
from tests.bench.material import Material, Recorded, images_of_size, recorded_heads
from tests.bench.measure import cpu_s, ratio_figure, scaled, side_by_side
from tests.bench.record import Figure, Goal, Table
from tests.bench.replay import ReplayDevice
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.letterbox import InputWriter, Letterbox
from tpu_worker.read_image import ReadOptions, decode_image, read_bytes
from tpu_worker.values import ImageRef

ROUNDS = 7
IMAGES = 64
SIZES_HW = ((480, 640), (1080, 1920))
GOALS = {0.25: 1.5, 0.001: 2.5}


def measure(material: Material) -> Findings:
    recorded = recorded_heads(material)
    figures, rows = [], []
    for size_hw in SIZES_HW:
        paths = images_of_size(material, size_hw)
        figures += [_against_the_bound(paths, size_hw, recorded, confidence) for confidence in GOALS]
        figures.append(_reduced(paths, size_hw, recorded))
        rows.append(_where_it_goes(paths, size_hw, recorded))
    return Findings(
        title="What an image costs the host",
        figures=tuple(figures),
        tables=(
            Table(
                title="Where it goes, ms of CPU an image, each step alone",
                head=(
                    "size",
                    "read the file",
                    "decode",
                    "letterbox",
                    "boxes, conf 0.25",
                    "boxes, conf 0.001",
                ),
                rows=tuple(rows),
                note="the bound consists of decoding, resizing and one pass into a float input",
            ),
        ),
    )


def _refs(paths: Sequence[Path]) -> list[ImageRef]:
    chosen = [paths[number % len(paths)] for number in range(IMAGES)]
    return [ImageRef(index=n, image_id=f"{n}.jpg", path=str(path)) for n, path in enumerate(chosen)]


def _shown(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]}×{size_hw[0]}"


def _against_the_bound(
    paths: Sequence[Path], size_hw: tuple[int, int], recorded: Recorded, confidence: float
) -> Figure:
    return _over_the_bound(
        paths,
        recorded,
        DetectOptions(conf=confidence),
        name="raysail",
        text=f"host cost, {_shown(size_hw)}, conf {confidence}, over the bound",
        rounds=ROUNDS,
        goal=Goal(at_most=GOALS[confidence]),
    )


def _reduced(paths: Sequence[Path], size_hw: tuple[int, int], recorded: Recorded) -> Figure:
    """The opt-in that decodes large JPEGs at reduced scale."""
    return _over_the_bound(
        paths,
        recorded,
        DetectOptions(conf=0.25, reduced_jpeg=True),
        name="reduced",
        text=f"host cost with --reduced-jpeg, {_shown(size_hw)}, conf 0.25, over the bound",
        rounds=5,
        note="" if min(size_hw) > 640 else "no reduction fits this size: nothing changes",
    )


def _over_the_bound(
    paths: Sequence[Path],
    recorded: Recorded,
    options: DetectOptions,
    *,
    name: str,
    text: str,
    rounds: int,
    goal: Goal | None = None,
    note: str = "",
) -> Figure:
    device = ReplayDevice(recorded.spec, recorded.heads)
    with Detector(device, options) as detector:
        samples = side_by_side(
            {name: _whole_shard(detector, _refs(paths)), "bound": bound(paths, recorded)},
            rounds=rounds,
            clock=cpu_s,
        )
    return ratio_figure(
        "4",
        text,
        scaled(samples, 1e3 / IMAGES),
        over=name,
        under="bound",
        samples_unit="ms of CPU an image",
        goal=goal,
        note=note,
    )


def _whole_shard(detector: Detector, refs: list[ImageRef]) -> Callable[[], object]:
    """All that an actor does for a shard but the device's work: threads, queues and result tables too."""
    names = [str(number) for number in range(80)]
    return lambda: shard_result(
        detector.detect(refs), class_names=names, batch_size=1, run_began_s=0.0, card="host/0", attempt=1
    )


def bound(paths: Sequence[Path], recorded: Recorded) -> Callable[[], None]:
    """imdecode, resize, and one pass into a preallocated float input."""
    cv2.setNumThreads(1)
    files = [np.frombuffer(path.read_bytes(), np.uint8) for path in paths]
    target = np.zeros((3, *recorded.spec.input_hw), np.float32)

    def run() -> None:
        for number in range(IMAGES):
            bgr = np.asarray(cv2.imdecode(files[number % len(files)], cv2.IMREAD_COLOR), np.uint8)
            fit = Letterbox.fit((bgr.shape[0], bgr.shape[1]), recorded.spec.input_hw)
            height, width = fit.resized_hw
            resized = np.asarray(cv2.resize(bgr, (width, height)), np.uint8)
            place = target[:, fit.top : fit.top + height, fit.left : fit.left + width]
            np.multiply(resized[:, :, ::-1].transpose(2, 0, 1), np.float32(1 / 255), out=place)

    return run


def _where_it_goes(
    paths: Sequence[Path], size_hw: tuple[int, int], recorded: Recorded
) -> tuple[str | float, ...]:
    from tests.bench.part_heads import _ours

    files = [read_bytes(str(path)) for path in paths]
    images = [decode_image(data, ReadOptions()) for data in files]
    fit = Letterbox.fit(size_hw, recorded.spec.input_hw)
    writer = InputWriter(recorded.spec.normalisation, recorded.spec.input_hw)
    target = np.zeros((3, *recorded.spec.input_hw), np.float32)
    steps: dict[str, Callable[[], object]] = {
        "read": lambda: [read_bytes(str(path)) for path in paths],
        "decode": lambda: [decode_image(data, ReadOptions()) for data in files],
        "letterbox": lambda: _write_all(writer, [image.bgr for image in images], fit, target),
    }
    per_image = {name: 1e3 / len(paths) for name in steps}
    for confidence in GOALS:
        ours = _ours(recorded, confidence)
        steps[str(confidence)] = lambda ours=ours: [  # type: ignore[misc]
            ours(heads, number) for number, heads in enumerate(recorded.heads)
        ]
        per_image[str(confidence)] = 1e3 / len(recorded.heads)
    samples = side_by_side(steps, rounds=5, clock=cpu_s)
    return (_shown(size_hw), *(float(np.median(samples[name])) * per_image[name] for name in steps))


def _write_all(
    writer: InputWriter, images: list[NDArray[np.uint8]], fit: Letterbox, target: NDArray[np.float32]
) -> None:
    for bgr in images:
        writer.write(bgr, fit, target, fit)
