"""Three heads of a 640 network to final boxes: against the sample's flow, and ways of suppression against each other."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.bench import without_objectness
from tests.bench.busiest import PUBLISHED_CANDIDATES, busiest, candidates
from tests.bench.findings import Findings
from tests.bench.fresh import FreshOutputs
from tests.bench.material import Heads, Material, Recorded, recorded_heads
from tests.bench.measure import Sides, ratio_figure, scaled, side_by_side
from tests.bench.nms_rivals import IN_USE, rivals
from tests.bench.record import Figure, Goal, Table
from tests.bench.replay import ReplayDevice
from tests.bench.serial_peer import Fit, SerialSample, fit_of
from tpu_worker.boxes import Detections
from tpu_worker.detector import DetectOptions, _Stages
from tpu_worker.layouts.registry import open_layout
from tpu_worker.nms import best_first

ROUNDS = 7
GOALS = {0.25: 20.0, 0.001: 8.0}
# Measured elsewhere: the sample's postprocess over decoding one photograph, ms, on one x86 core. At conf 0.001 the
# photographs had 4,000 candidates, which decide over the time.
PUBLISHED = {0.5: 7.4 / 1.9, 0.001: 24.2 / 1.9}
TOLERANCE = 1.3

Use = Callable[[Heads, int], object]


def measure(material: Material) -> Findings:
    # The sample leaves OpenCV its threads, but nothing that is timed here has any.
    cv2.setNumThreads(1)
    recorded = recorded_heads(material)
    with FreshOutputs(recorded.heads) as fresh:
        figures = [_against_the_sample(recorded, fresh, confidence) for confidence in GOALS]
    figures += [_share_of_identical(recorded, confidence) for confidence in GOALS]
    figures += [_peer_is_honest(material, recorded, confidence) for confidence in PUBLISHED]
    figures += without_objectness.figures()
    return Findings(title="Raw heads to boxes", figures=tuple(figures), tables=(_suppression(recorded),))


def _ours(recorded: Recorded, confidence: float) -> Callable[[Heads, int], Detections]:
    stages = _Stages(ReplayDevice(recorded.spec, recorded.heads), DetectOptions(conf=confidence), None)
    return lambda heads, number: stages.postprocess(heads, 0, recorded.letterboxes[number])


def _theirs(recorded: Recorded, confidence: float) -> Callable[[Heads, int], NDArray[np.floating]]:
    sample = SerialSample(recorded.spec, confidence=confidence)
    fits = [fit_of(letterbox.source_hw, letterbox.input_hw) for letterbox in recorded.letterboxes]
    return lambda heads, number: sample.postprocess(heads, fits[number])


def _against_the_sample(recorded: Recorded, fresh: FreshOutputs, confidence: float) -> Figure:
    sides: dict[str, Use] = {"sample": _theirs(recorded, confidence), "raysail": _ours(recorded, confidence)}
    samples: Sides = {name: [] for name in sides}
    for turn in range(ROUNDS + 1):
        for name, use in sides.items():
            seconds = fresh.cpu_s(use)
            if turn:  # the first is to warm up
                samples[name].append(seconds)
    return ratio_figure(
        "5",
        f"heads to boxes, conf {confidence}: the sample's time over Raysail's",
        scaled(samples, 1e3 / len(recorded.heads)),
        over="sample",
        under="raysail",
        samples_unit="ms an image",
        goal=Goal(at_least=GOALS[confidence]),
    )


def _share_of_identical(recorded: Recorded, confidence: float) -> Figure:
    """The sample's steps in float64, with its one ratio for both axes put right: the rest must be equal."""
    ours = _ours(recorded, confidence)
    sample = SerialSample(recorded.spec, confidence=confidence, dtype=np.float64)
    same = 0
    for number, heads in enumerate(recorded.heads):
        box = recorded.letterboxes[number]
        fit = Fit(ratio_yx=box.scale_yx, left=box.left, top=box.top, source_hw=box.source_hw)
        same += is_same(ours(heads, number), sample.postprocess(heads, fit))
    return Figure(
        line="5",
        text=f"images with the sample's very boxes, conf {confidence}",
        unit="%",
        values=(100.0 * same / len(recorded.heads),),
        goal=Goal(at_least=100.0),
        note="the sample's steps in float64: number, classes, confidences to 1e-5, boxes to 0.01 pixels",
    )


def is_same(ours: Detections, theirs: NDArray[np.floating]) -> bool:
    """Whether rows x1 y1 x2 y2 score class are the detections; equal confidences may change places."""
    shown = theirs[(theirs[:, 0] < theirs[:, 2]) & (theirs[:, 1] < theirs[:, 3])]
    if len(ours) != len(shown):
        return False
    mine = _sorted(np.column_stack((ours.xyxy, ours.confidence, ours.class_id)).astype(np.float64))
    other = _sorted(shown)
    return bool(
        np.array_equal(mine[:, 5], other[:, 5])
        and np.allclose(mine[:, 4], other[:, 4], rtol=0, atol=1e-5)
        and np.allclose(mine[:, :4], other[:, :4], rtol=0, atol=0.01)
    )


def _sorted(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return rows[np.lexsort((rows[:, 1], rows[:, 0], rows[:, 4], rows[:, 5]))]


def _peer_is_honest(material: Material, recorded: Recorded, confidence: float) -> Figure:
    """The sample's steps timed inside its own flow, image after image, as the original's were."""
    chosen, note = list(range(len(recorded.heads))), "all images"
    if confidence == 0.001:
        counts = candidates(recorded)
        chosen = busiest(counts, PUBLISHED_CANDIDATES)
        note = f"the {len(chosen)} busiest images, with {np.mean(counts[chosen]):.0f} candidates each"
    rounds = [_flow_ms(material, recorded, confidence, chosen) for _ in range(6)][1:]
    samples = {"decode": [decode for decode, _ in rounds], "postprocess": [post for _, post in rounds]}
    published = PUBLISHED[confidence]
    return ratio_figure(
        "peer",
        f"the sample's postprocess over decoding a JPEG, conf {confidence}",
        samples,
        over="postprocess",
        under="decode",
        samples_unit="ms of CPU an image",
        goal=Goal(at_least=published / TOLERANCE, at_most=published * TOLERANCE),
        note=f"measured elsewhere: {published:.1f}, to be met within {TOLERANCE} ×; {note}",
    )


def _flow_ms(
    material: Material, recorded: Recorded, confidence: float, chosen: list[int]
) -> tuple[float, float]:
    """CPU time of decoding and of postprocessing an image; outputs are arrays of their own, as from a network."""
    sample = SerialSample(recorded.spec, confidence=confidence)
    decode_s = post_s = 0.0
    for number in chosen:
        data = material.images[number].read_bytes()
        started = time.thread_time()
        bgr = sample.decode(data)
        decoded = time.thread_time()
        _, fit = sample.preprocess(bgr)
        outputs = [head.copy() for head in recorded.heads[number]]
        ready = time.thread_time()
        sample.postprocess(outputs, fit)
        decode_s += decoded - started
        post_s += time.thread_time() - ready
    return decode_s * 1e3 / len(chosen), post_s * 1e3 / len(chosen)


def _suppression(recorded: Recorded) -> Table:
    """Time of each way at conf 0.001, candidates decoded and sorted beforehand."""
    decoder = open_layout(recorded.spec, conf=0.001, single_label=False)
    inputs = []
    for heads in recorded.heads:
        found = decoder.decode(heads, 0)
        order = best_first(found.confidence, 30_000)
        inputs.append((found.xyxy[order], found.confidence[order], found.class_id[order]))
    ways = rivals()
    kept = {name: [way(*one) for one in inputs] for name, way in ways.items()}
    calls = {name: (lambda way=way: [way(*one) for one in inputs]) for name, way in ways.items()}
    samples = scaled(side_by_side(calls, rounds=5), 1e3 / len(inputs))
    rows = tuple(
        (
            name,
            float(np.median(samples[name])),
            float(sum(np.array_equal(a, b) for a, b in zip(kept[name], kept[IN_USE], strict=True))),
        )
        for name in ways
    )
    mean = np.mean([len(scores) for _, scores, _ in inputs])
    return Table(
        title="Ways to suppress, conf 0.001",
        head=("way", "ms an image", f"images of {len(inputs)} with the same boxes"),
        rows=rows,
        note=f"{mean:.0f} candidates an image; sorting and decoding are not part of it",
    )
