"""Decoding equals plain float64 arithmetic over every anchor."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bmodel.errors import DeviceError, OutputError
from bmodel.sidecar import ModelSpec
from tests.helpers.reference_detection import all_boxes
from tests.helpers.small_specs import decoded_spec, flat_spec, head_spec, plane_spec
from tpu_worker.layouts.candidates import Candidates
from tpu_worker.layouts.registry import open_layout

Outputs = list[NDArray[np.float32]]


def random_outputs(spec: ModelSpec, seed: int = 0) -> Outputs:
    dice = np.random.default_rng(seed)
    if spec.heads:
        return [dice.normal(-2, 4, output.shape).astype(np.float32) for output in spec.outputs]
    (output,) = spec.outputs
    values = dice.uniform(0, 1, output.shape).astype(np.float32) ** 3
    rows = values.swapaxes(1, 2) if spec.layout == "anchor-free" and spec.has_classes_first else values
    rows[..., :4] = dice.normal(0.5, 1, rows[..., :4].shape) if spec.layout == "yolox" else rows[..., :4] * 64
    if spec.layout == "end-to-end":
        rows[..., 5] = dice.integers(len(spec.class_names), size=rows.shape[:-1])
    return [values]


def decode(
    outputs: Outputs, spec: ModelSpec, position: int = 0, *, conf: float, single_label: bool = False
) -> Candidates:
    return open_layout(spec, conf=conf, single_label=single_label).decode(outputs, position)


def background(spec: ModelSpec) -> Outputs:
    return [np.full(output.shape, -20, np.float32) for output in spec.outputs]


SPECS = [
    pytest.param(head_spec(), id="three heads"),
    pytest.param(head_spec(levels=4, input_hw=(128, 64)), id="four heads"),
    pytest.param(head_spec(levels=1, classes=1), id="one head and class"),
    pytest.param(decoded_spec(), id="decoded"),
    pytest.param(plane_spec(), id="planes"),
    pytest.param(plane_spec(levels=4), id="four planes"),
    pytest.param(flat_spec("anchor-free"), id="classes first"),
    pytest.param(flat_spec("anchor-free", classes_first=False), id="classes last"),
    pytest.param(flat_spec("anchor-free", classes=1), id="one class without objectness"),
    pytest.param(flat_spec("yolox"), id="yolox"),
    pytest.param(flat_spec("end-to-end"), id="end to end"),
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("confidence", [0.001, 0.25, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_every_class_above_the_limit_is_a_candidate(spec: ModelSpec, confidence: float, seed: int) -> None:
    outputs = random_outputs(spec, seed)
    xyxy, scores = all_boxes(outputs, 0, spec)
    anchors, classes = np.nonzero(scores > confidence)
    found = decode(outputs, spec, conf=confidence)
    assert len(found.confidence) > 0
    assert found.class_id.tolist() == classes.tolist()
    np.testing.assert_allclose(found.confidence, scores[anchors, classes], rtol=1e-7)
    np.testing.assert_allclose(found.xyxy, xyxy[anchors], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("confidence", [0.001, 0.25])
def test_only_the_best_class_with_single_label(spec: ModelSpec, confidence: float) -> None:
    outputs = random_outputs(spec)
    xyxy, scores = all_boxes(outputs, 0, spec)
    anchors = np.flatnonzero(scores.max(axis=1) > confidence)
    found = decode(outputs, spec, conf=confidence, single_label=True)
    assert found.class_id.tolist() == scores[anchors].argmax(axis=1).tolist()
    np.testing.assert_allclose(found.confidence, scores[anchors].max(axis=1), rtol=1e-7)
    np.testing.assert_allclose(found.xyxy, xyxy[anchors], rtol=1e-6, atol=1e-5)


def test_each_image_of_a_batch_has_its_own() -> None:
    spec = head_spec(batch=3)
    single = head_spec(batch=1)
    outputs = random_outputs(spec)
    for position in range(3):
        alone = [output[position : position + 1] for output in outputs]
        together = decode(outputs, spec, position, conf=0.1)
        apart = decode(alone, single, conf=0.1)
        np.testing.assert_array_equal(together.xyxy, apart.xyxy)
        np.testing.assert_array_equal(together.confidence, apart.confidence)


@pytest.mark.parametrize("spec", SPECS)
def test_nothing_above_the_limit_is_no_candidate(spec: ModelSpec) -> None:
    found = decode(background(spec), spec, conf=0.25)
    assert found.xyxy.shape == (0, 4)
    assert [str(array.dtype) for array in (found.xyxy, found.confidence, found.class_id)] == [
        "float32",
        "float32",
        "int32",
    ]


def test_a_known_box() -> None:
    """σ(0) = ½ puts the centre in the middle of the cell and gives the anchor's own size."""
    spec = head_spec()
    outputs = background(spec)
    outputs[2][0, 1, 3, 5] = (0, 0, 0, 0, 0, -20, 0, -20)
    found = decode(outputs, spec, conf=0.2)
    assert found.confidence.tolist() == [0.25]
    assert found.class_id.tolist() == [1]
    assert found.xyxy.tolist() == [[44 - 8, 28 - 4.5, 44 + 8, 28 + 4.5]]


@pytest.mark.parametrize("single_label", [True, False])
def test_the_limit_itself_is_not_above_it(single_label: bool) -> None:
    spec = head_spec()
    outputs = background(spec)
    outputs[2][0, 1, 3, 5] = (0, 0, 0, 0, 0, -20, 0, -20)
    for confidence, count in [(0.25, 0), (np.nextafter(0.25, 0), 1)]:
        found = decode(outputs, spec, conf=float(confidence), single_label=single_label)
        assert len(found.confidence) == count


def test_the_decoded_limit_itself_is_not_above_it() -> None:
    spec = decoded_spec()
    outputs = [np.zeros(spec.outputs[0].shape, np.float32)]
    outputs[0][0, 7] = (10, 20, 4, 8, 0.5, 0, 0.5, 0)
    assert len(decode(outputs, spec, conf=0.25).confidence) == 0
    found = decode(outputs, spec, conf=0.2499)
    assert found.xyxy.tolist() == [[8, 16, 12, 24]]


def test_saturated_values_are_fine() -> None:
    spec = head_spec()
    outputs = [np.full(output.shape, -1e4, np.float32) for output in spec.outputs]
    outputs[0][0, 0, 0, 0] = (-1e4, 1e4, -1e4, 1e4, 1e4, -1e4, 1e4, -1e4)
    found = decode(outputs, spec, conf=0.5)
    assert found.confidence.tolist() == [1.0]
    assert np.isfinite(found.xyxy).all()


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 4, 5])
def test_values_that_are_not_finite_are_the_devices_failure(
    spec: ModelSpec, value: float, column: int
) -> None:
    if spec.layout == "anchor-free" and value == -np.inf:
        value = np.nan  # without objectness, -∞ is a probability below every limit
    outputs = [np.full(output.shape, 0.9, np.float32) for output in spec.outputs]
    outputs[-1].reshape(-1, outputs[-1].shape[-1])[-1, column] = value
    with pytest.raises(DeviceError, match="not finite"):
        decode(outputs, spec, conf=0.25)


@pytest.mark.parametrize("single_label", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_both_orders_of_an_anchor_free_output_give_equal_rows(seed: int, single_label: bool) -> None:
    first, last = flat_spec("anchor-free"), flat_spec("anchor-free", classes_first=False)
    (values,) = random_outputs(first, seed)
    one = decode([values], first, conf=0.01, single_label=single_label)
    other = decode([values.swapaxes(1, 2).copy()], last, conf=0.01, single_label=single_label)
    for name in ("xyxy", "confidence", "class_id"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("seed", range(3))
def test_planes_give_what_heads_give(seed: int) -> None:
    heads, planes = head_spec(), plane_spec()
    outputs = random_outputs(heads, seed)
    permuted = [output.transpose(0, 1, 4, 2, 3) for output in outputs]
    moved = [np.ascontiguousarray(p).reshape(o.shape) for p, o in zip(permuted, planes.outputs, strict=True)]
    one, other = (decode(o, s, conf=0.01) for o, s in ((outputs, heads), (moved, planes)))
    for name in ("xyxy", "confidence", "class_id"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_known_box_without_objectness() -> None:
    spec = flat_spec("anchor-free")
    outputs = [np.zeros(spec.outputs[0].shape, np.float32)]
    outputs[0][0, :, 7] = (10, 20, 4, 8, 0, 0.5, 0.25)
    found = decode(outputs, spec, conf=0.25)
    assert found.xyxy.tolist() == [[8, 16, 12, 24]]
    assert (found.confidence.tolist(), found.class_id.tolist()) == ([0.5], [1])


def test_a_known_box_of_yolox() -> None:
    """The sixth cell of the second row at stride 8: column 5, row 1."""
    spec = flat_spec("yolox")
    outputs = [np.zeros(spec.outputs[0].shape, np.float32)]
    outputs[0][0, 12 + 5] = (0.5, 0.25, np.log(2), np.log(4), 0.5, 0, 1, 0)
    found = decode(outputs, spec, conf=0.25)
    np.testing.assert_allclose(found.xyxy, [[44 - 8, 10 - 16, 44 + 8, 10 + 16]], rtol=1e-6)
    assert (found.confidence.tolist(), found.class_id.tolist()) == ([0.5], [1])


@pytest.mark.parametrize("class_id", [-1, 3, 1.5])
def test_a_final_box_of_no_class_is_the_devices_failure(class_id: float) -> None:
    spec = flat_spec("end-to-end")
    outputs = [np.zeros(spec.outputs[0].shape, np.float32)]
    outputs[0][0, 4] = (1, 2, 3, 4, 0.5, class_id)
    with pytest.raises(OutputError, match="class must be a whole number below 3"):
        decode(outputs, spec, conf=0.25)


def test_outputs_are_left_as_they_were() -> None:
    for spec in (head_spec(), decoded_spec(), flat_spec("anchor-free"), flat_spec("yolox")):
        outputs = random_outputs(spec)
        for output in outputs:
            output.setflags(write=False)
        assert len(decode(outputs, spec, conf=0.01).confidence) > 0
