"""Outputs of another layout than the spec's end a call before any of its results, naming the likely cause."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bmodel.errors import DeviceError, OutputError
from bmodel.layouts import LayoutName
from bmodel.sidecar import ModelSpec
from tests.helpers.detector_runs import refs, write_images
from tests.helpers.small_specs import decoded_spec, flat_spec, head_spec, plane_spec
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices.canned_boxes import background, draw_box
from tpu_worker.devices.protocol import Batch
from tpu_worker.layouts.plausible import check_plausible
from tpu_worker.layouts.registry import open_layout

Outputs = list[NDArray[np.float32]]
DICE_SEED = 3
SPECS = [
    head_spec(),
    plane_spec(),
    decoded_spec(),
    flat_spec("anchor-free"),
    flat_spec("anchor-free", classes_first=False),
    flat_spec("yolox"),
    flat_spec("end-to-end"),
]


class FixedDevice:
    """Answers every launch with the same outputs."""

    def __init__(self, spec: ModelSpec, outputs: Outputs) -> None:
        self.spec = spec
        self._outputs = outputs

    def run(self, batch: Batch) -> Outputs:
        assert batch.shape == self.spec.input.shape
        return self._outputs

    def close(self) -> None:
        pass


def usual_rows(count: int, *, classes: int = 3) -> NDArray[np.float32]:
    """Rows cx cy w h objectness classes… of an input of 64 x 96: few of them sure."""
    dice = np.random.default_rng(DICE_SEED)
    rows = np.full((count, 5 + classes), 1e-4, np.float32)
    rows[:, :4] = dice.uniform(0.1, 0.9, (count, 4)) * (96, 64, 48, 32)
    rows[::9, 4:] = dice.uniform(0.4, 1, (len(rows[::9]), 1 + classes))
    return rows


def undecoded_rows(count: int) -> NDArray[np.float32]:
    rows = usual_rows(count)
    rows[:, :4] = np.random.default_rng(DICE_SEED).normal(0.3, 1, (count, 4))
    return rows


def final_rows(count: int) -> NDArray[np.float32]:
    dice = np.random.default_rng(DICE_SEED)
    rows = np.zeros((count, 6), np.float32)
    corners = np.sort(dice.uniform(0, 64, (count, 2, 2)), axis=1)
    rows[:, :4] = corners.reshape(count, 4)
    rows[:10, 4] = np.linspace(0.9, 0.1, 10)
    rows[:10, 5] = dice.integers(0, 65, 10)
    rows[3, 5] = 65
    return rows


def wrong_cases() -> list[tuple[str, ModelSpec, Outputs, str]]:
    """The wrong things of before that came with exit code 0, and others like them."""
    dice = np.random.default_rng(DICE_SEED)
    heads = head_spec()
    behind_sigmoid = [dice.uniform(0, 1, output.shape).astype(np.float32) for output in heads.outputs]
    normalised = usual_rows(200)
    normalised[:, :4] /= (96, 64, 96, 64)
    every = usual_rows(200)
    every[:, 4:] = 0.5
    logits = np.delete(usual_rows(126), 4, axis=1)
    logits[:, 4:] = dice.normal(-4, 3, (126, 3))
    boxless = usual_rows(200)
    boxless[:, :4] = dice.normal(0, 1e4, (200, 4))
    decoded, one_class = decoded_spec(), decoded_spec(classes=1, boxes=50)
    return [
        ("end-to-end rows as one class", one_class, [final_rows(50)[None]], "--layout end-to-end"),
        ("heads behind a sigmoid", heads, behind_sigmoid, "behind a sigmoid"),
        ("YOLOX's as decoded", decoded_spec(boxes=126), [undecoded_rows(126)[None]], "--layout yolox"),
        ("normalised boxes", decoded, [normalised[None]], "normalised to 0..1"),
        ("decoded as YOLOX's", flat_spec("yolox"), [usual_rows(126)[None]], "--layout decoded"),
        ("every box passes", decoded, [every[None]], "every one of 200 boxes passes"),
        ("class logits", flat_spec("anchor-free", classes_first=False), [logits[None]], "before a sigmoid"),
        ("no pixels", decoded, [boxless[None]], "cannot lie in an input of 96 x 64"),
        ("a class of no name", flat_spec("end-to-end"), [final_rows(50)[None]], "whole number below 3"),
    ]


@pytest.mark.parametrize(
    ("spec", "outputs", "message"),
    [pytest.param(spec, outputs, message, id=name) for name, spec, outputs, message in wrong_cases()],
)
def test_what_cannot_be_ends_the_call_with_its_cause(
    tmp_path: Path, spec: ModelSpec, outputs: Outputs, message: str
) -> None:
    write_images(tmp_path, 1)
    images = refs([tmp_path / "0.png"])
    with (
        Detector(FixedDevice(spec, outputs), DetectOptions()) as detector,
        pytest.raises(OutputError, match=message) as caught,
    ):
        detector.detect(images)
    assert f"'{spec.name}'" in str(caught.value)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("boxes", [0, 1, 30])
def test_what_can_be_is_left_alone(spec: ModelSpec, boxes: int) -> None:
    for seed in range(20):
        outputs = [background(spec, output) for output in spec.outputs]
        dice = np.random.default_rng(seed)
        for _ in range(boxes):
            draw_box(outputs, 0, spec, dice)
        check_plausible(outputs, 0, spec, 0.001)
        check_plausible(outputs, 0, spec, 1e-9)


LAYOUTS: list[LayoutName] = ["decoded", "anchor-free", "yolox", "end-to-end"]


@given(
    layout=st.sampled_from(LAYOUTS),
    classes=st.integers(1, 6),
    sides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    low=st.floats(-100, 1),
    high=st.floats(0, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_confidence_leaves_0_to_1(
    layout: LayoutName, classes: int, sides: tuple[int, int], low: float, high: float, seed: int
) -> None:
    """Whatever shapes and values: refused, the device's failure, or probabilities."""
    spec = flat_spec(layout, classes=classes, input_hw=(32 * sides[0], 32 * sides[1]))
    dice = np.random.default_rng(seed)
    outputs = [dice.uniform(low, max(low, high), spec.outputs[0].shape).astype(np.float32)]
    try:
        check_plausible(outputs, 0, spec, 0.001)
        found = open_layout(spec, conf=0.001, single_label=False).decode(outputs, 0)
    except (OutputError, DeviceError):
        return
    assert (found.confidence > 0).all()
    assert (found.confidence <= 1).all()


def test_later_images_are_held_to_probabilities_too() -> None:
    spec = flat_spec("anchor-free")
    outputs = [np.zeros(spec.outputs[0].shape, np.float32)]
    outputs[0][0, 5, 7] = 1.004
    layout = open_layout(spec, conf=0.25, single_label=False)
    assert layout.decode(outputs, 0).confidence.tolist() == [1.0]
    outputs[0][0, 5, 7] = 3
    with pytest.raises(OutputError, match=r"a confidence must be within 0..1, got 3"):
        layout.decode(outputs, 0)
