"""What holds for a letterbox of any image in any input."""

from __future__ import annotations

from typing import get_args

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bmodel.sidecar import Placement
from tpu_worker.letterbox import Letterbox

sides = st.integers(1, 30_000)
inputs = st.integers(1, 60).map(lambda n: 32 * n)
letterboxes = st.builds(Letterbox.fit, st.tuples(sides, sides), st.tuples(inputs, inputs))
anywhere = st.builds(
    Letterbox.fit,
    st.tuples(sides, sides),
    st.tuples(inputs, inputs),
    st.sampled_from(get_args(Placement)),
)


@given(letterboxes)
def test_the_image_fills_one_axis_and_is_centred(letterbox: Letterbox) -> None:
    height, width = letterbox.resized_hw
    assert height >= 1
    assert width >= 1
    assert height == letterbox.input_hw[0] or width == letterbox.input_hw[1]
    bottom = letterbox.input_hw[0] - letterbox.top - height
    right = letterbox.input_hw[1] - letterbox.left - width
    assert bottom - letterbox.top in (0, 1)
    assert right - letterbox.left in (0, 1)


@given(letterboxes)
def test_the_aspect_ratio_is_kept_up_to_half_a_pixel(letterbox: Letterbox) -> None:
    ratio = min(
        letterbox.input_hw[0] / letterbox.source_hw[0], letterbox.input_hw[1] / letterbox.source_hw[1]
    )
    for resized, source in zip(letterbox.resized_hw, letterbox.source_hw, strict=True):
        assert abs(resized - source * ratio) <= 0.5 + 1e-6 or resized == 1


@given(anywhere, st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5))
def test_a_box_comes_back_from_the_input(
    letterbox: Letterbox, fractions: list[tuple[float, float, float, float]]
) -> None:
    height, width = letterbox.source_hw
    corners = np.array(fractions, np.float64).reshape(-1, 2, 2)
    boxes = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)
    boxes *= (width, height, width, height)
    back = letterbox.to_source(letterbox.to_input(boxes))
    np.testing.assert_allclose(back, boxes, rtol=1e-6, atol=1e-4 * max(1, width / 640, height / 640))


@given(anywhere, st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 4), max_size=5))
def test_no_box_leaves_the_image(
    letterbox: Letterbox, boxes: list[tuple[float, float, float, float]]
) -> None:
    back = letterbox.to_source(np.array(boxes, np.float32).reshape(-1, 4))
    height, width = letterbox.source_hw
    assert (back >= 0).all()
    assert (back <= (width, height, width, height)).all()


@given(anywhere)
def test_the_edges_of_the_image_are_the_edges_of_its_place(letterbox: Letterbox) -> None:
    height, width = letterbox.source_hw
    (place,) = letterbox.to_input(np.array([[0, 0, width, height]], np.float64))
    expected = (
        letterbox.left,
        letterbox.top,
        letterbox.left + letterbox.resized_hw[1],
        letterbox.top + letterbox.resized_hw[0],
    )
    np.testing.assert_allclose(place, expected, rtol=1e-12)


@given(st.tuples(sides, sides), st.tuples(inputs, inputs))
def test_at_the_top_left_only_the_place_differs(
    source_hw: tuple[int, int], input_hw: tuple[int, int]
) -> None:
    centred = Letterbox.fit(source_hw, input_hw)
    cornered = Letterbox.fit(source_hw, input_hw, "top-left")
    assert cornered.resized_hw == centred.resized_hw
    assert (cornered.top, cornered.left) == (0, 0)


@given(st.tuples(sides, sides), st.tuples(inputs, inputs))
def test_stretched_the_image_fills_the_input(source_hw: tuple[int, int], input_hw: tuple[int, int]) -> None:
    stretched = Letterbox.fit(source_hw, input_hw, "stretch")
    assert (stretched.top, stretched.left, stretched.resized_hw) == (0, 0, input_hw)
