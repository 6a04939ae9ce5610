"""Anchor-free outputs of a 640 network to candidate boxes: against the plain numpy flow, and against one reading."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec
from tests.bench.measure import cpu_s, ratio_figure, scaled, side_by_side
from tests.bench.record import Figure, Goal
from tests.helpers.small_specs import flat_spec
from tpu_worker.layouts.candidates import Candidates
from tpu_worker.layouts.registry import open_layout

Rows = NDArray[np.float32]

IMAGES = 16
ROUNDS = 7
# Over the plain flow, by confidence.
GOALS = {0.25: 4.0, 0.001: 2.5}


def figures() -> list[Figure]:
    """The ratios at each confidence, for both orders of the output, and the share of equal boxes."""
    found = []
    for classes_first in (True, False):
        spec = flat_spec("anchor-free", classes=80, input_hw=(640, 640), classes_first=classes_first)
        outputs = [made_up_output(spec, seed) for seed in range(IMAGES)]
        for conf in GOALS:
            found += _figures(spec, outputs, conf, "(1, 84, 8400)" if classes_first else "(1, 8400, 84)")
    return found


def made_up_output(spec: ModelSpec, seed: int) -> Rows:
    """As a trained network's on a photograph: some thousand probabilities above 0.001, 60 above 0.25."""
    dice = np.random.default_rng(seed)
    rows = np.empty((8400, 84), np.float32)
    rows[:, :4] = dice.uniform(5, 600, (8400, 4))
    rows[:, 4:] = 1 / (1 + np.exp(-dice.normal(-11, 1.5, (8400, 80))))
    rows[dice.integers(8400, size=60), dice.integers(4, 84, size=60)] = dice.uniform(0.3, 0.95, 60)
    return np.ascontiguousarray(rows.T if spec.has_classes_first else rows)[None]


def plain(output: Rows, conf: float, *, classes_first: bool) -> tuple[Rows, Rows, NDArray[np.intp]]:
    """Transpose, maximum and argmax over the classes, mask, boxes: what most samples do; then every class above."""
    rows = output[0].T if classes_first else output[0]
    best, _ = rows[:, 4:].max(axis=1), rows[:, 4:].argmax(axis=1)
    rows = rows[best > conf]
    xyxy = np.concatenate((rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2), axis=1)
    row, class_id = np.nonzero(rows[:, 4:] > conf)
    return xyxy[row], rows[row, class_id + 4], class_id


def _figures(spec: ModelSpec, outputs: list[Rows], conf: float, shape: str) -> list[Figure]:
    layout = open_layout(spec, conf=conf, single_label=False)
    first = spec.has_classes_first
    samples = scaled(
        side_by_side(
            {
                "plain": lambda: [plain(output, conf, classes_first=first) for output in outputs],
                "raysail": lambda: [layout.decode([output], 0) for output in outputs],
                "one reading": lambda: [output.max() for output in outputs],
            },
            rounds=ROUNDS,
            clock=cpu_s,
        ),
        1e3 / len(outputs),
    )
    text = f"{shape} to candidates, conf {conf}"
    same = [_is_same(layout.decode([o], 0), plain(o, conf, classes_first=first)) for o in outputs]
    return [
        ratio_figure(
            "5",
            f"{text}: the plain flow's time over Raysail's",
            samples,
            over="plain",
            under="raysail",
            samples_unit="ms per image",
            goal=Goal(at_least=GOALS[conf]),
        ),
        ratio_figure(
            "5",
            f"{text}: Raysail's time over reading the output once",
            samples,
            over="raysail",
            under="one reading",
            samples_unit="ms per image",
        ),
        Figure(
            line="5",
            text=f"{text}: images with the plain flow's very boxes",
            unit="%",
            values=(100.0 * float(np.mean(same)),),
            goal=Goal(at_least=100.0),
        ),
    ]


def _is_same(ours: Candidates, theirs: tuple[Rows, Rows, NDArray[np.intp]]) -> bool:
    xyxy, scores, class_id = theirs
    return (
        np.array_equal(ours.class_id, class_id)
        and np.array_equal(ours.confidence, scores)
        and np.allclose(ours.xyxy, xyxy, rtol=0, atol=1e-3)
    )
