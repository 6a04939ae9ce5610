"""The letterbox: where an image lies in the input, what the input then holds, and the way back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bmodel.sidecar import Normalisation
from tests.helpers.image_files import Pixels
from tpu_worker.letterbox import InputWriter, Letterbox


@pytest.mark.parametrize(
    ("source_hw", "input_hw", "resized_hw", "top", "left"),
    [
        ((480, 640), (640, 640), (480, 640), 80, 0),
        ((640, 480), (640, 640), (640, 480), 0, 80),
        ((427, 640), (320, 320), (214, 320), 53, 0),
        ((640, 427), (320, 320), (320, 214), 0, 53),
        ((1080, 1920), (640, 640), (360, 640), 140, 0),
        ((1080, 1920), (384, 640), (360, 640), 12, 0),
        ((641, 640), (640, 640), (640, 639), 0, 0),
        ((637, 640), (640, 640), (637, 640), 1, 0),
        ((1, 1), (640, 640), (640, 640), 0, 0),
        ((10, 20), (640, 640), (320, 640), 160, 0),
        ((10, 20_000), (640, 640), (1, 640), 319, 0),
        ((20_000, 10), (640, 640), (640, 1), 0, 319),
        ((1, 100_000), (32, 64), (1, 64), 15, 0),
    ],
)
def test_places_the_image_in_whole_pixels(
    source_hw: tuple[int, int],
    input_hw: tuple[int, int],
    resized_hw: tuple[int, int],
    top: int,
    left: int,
) -> None:
    letterbox = Letterbox.fit(source_hw, input_hw)
    assert (letterbox.resized_hw, letterbox.top, letterbox.left) == (resized_hw, top, left)
    assert letterbox.scale_yx == (resized_hw[0] / source_hw[0], resized_hw[1] / source_hw[1])


@pytest.mark.parametrize(
    ("source_hw", "resized_hw", "top", "left"),
    [((0, 5), (1, 1), 0, 0), ((5, 5), (0, 5), 0, 0), ((5, 5), (5, 5), -1, 0), ((5, 5), (5, 5), 0, 4)],
)
def test_refuses_what_does_not_fit(
    source_hw: tuple[int, int], resized_hw: tuple[int, int], top: int, left: int
) -> None:
    with pytest.raises(ValueError, match="must"):
        Letterbox(source_hw=source_hw, input_hw=(8, 8), resized_hw=resized_hw, top=top, left=left)


def random_pixels(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def written(bgr: Pixels, letterbox: Letterbox, normalisation: Normalisation) -> NDArray[np.float32]:
    target = np.full((3, *letterbox.input_hw), np.nan, np.float32)
    InputWriter(normalisation, letterbox.input_hw).write(bgr, letterbox, target, None)
    return target


def reference(bgr: Pixels, letterbox: Letterbox, normalisation: Normalisation) -> NDArray[np.float64]:
    """The same in plain steps: scale, pad, order the channels, normalise."""
    height, width = letterbox.resized_hw
    canvas = np.full((*letterbox.input_hw, 3), normalisation.padding, np.uint8)
    scaled = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_LINEAR)
    canvas[letterbox.top : letterbox.top + height, letterbox.left : letterbox.left + width] = scaled
    ordered = canvas[..., ::-1] if normalisation.channels == "rgb" else canvas
    values = (ordered.astype(np.float64) - normalisation.mean) * normalisation.scale
    return np.asarray(values.transpose(2, 0, 1))


NORMALISATIONS = [
    Normalisation(),
    Normalisation(channels="bgr"),
    Normalisation(mean=(123.7, 116.3, 103.5), scale=(0.0171, 0.0175, 0.0174), padding=0),
    Normalisation(channels="bgr", mean=(104.0, 117.0, 123.0), scale=(1.0, 1.0, 1.0), padding=255),
]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize(
    "source_hw", [(480, 640), (640, 480), (64, 64), (33, 97), (1, 1), (1, 300), (2000, 3), (128, 128)]
)
def test_the_input_is_exactly_the_plain_one(source_hw: tuple[int, int], normalisation: Normalisation) -> None:
    bgr = random_pixels(*source_hw)
    letterbox = Letterbox.fit(source_hw, (128, 128))
    expected = reference(bgr, letterbox, normalisation).astype(np.float32)
    np.testing.assert_array_equal(written(bgr, letterbox, normalisation), expected)


def test_a_buffer_keeps_nothing_of_the_images_before() -> None:
    batch = np.zeros((2, 3, 96, 128), np.float32)
    writer = InputWriter(Normalisation(), (96, 128))
    sizes = [(480, 640), (100, 300), (100, 300), (300, 100), (7, 5), (96, 128), (480, 640), (300, 100)]
    previous: Letterbox | None = None
    for seed, size_hw in enumerate(sizes):
        letterbox = Letterbox.fit(size_hw, (96, 128))
        bgr = random_pixels(*size_hw, seed=seed)
        writer.write(bgr, letterbox, batch[1], previous)
        previous = letterbox
        expected = reference(bgr, letterbox, Normalisation()).astype(np.float32)
        np.testing.assert_array_equal(batch[1], expected)
        assert not batch[0].any()


def test_the_image_is_left_as_it_was() -> None:
    bgr = random_pixels(64, 64)
    bgr.setflags(write=False)
    assert written(bgr, Letterbox.fit((64, 64), (64, 64)), Normalisation()).max() <= 1.0


def test_a_reduced_image_fills_the_place_of_the_full_one() -> None:
    letterbox = Letterbox.fit((960, 1280), (64, 64))
    target = written(np.full((240, 320, 3), 200, np.uint8), letterbox, Normalisation())
    assert (target[:, 8:56] == np.float32(200 / 255)).all()
    assert (target[:, :8] == np.float32(114 / 255)).all()
    assert (target[:, 56:] == np.float32(114 / 255)).all()


def test_boxes_come_back_clipped_to_the_image() -> None:
    letterbox = Letterbox.fit((100, 200), (64, 64))
    xyxy_input = np.array([[-50, -50, 200, 200], [0, 16, 64, 48], [16, 20, 32, 24]], np.float32)
    expected = [[0, 0, 200, 100], [0, 0, 200, 100], [50, 12.5, 100, 25]]
    xyxy = letterbox.to_source(xyxy_input)
    assert xyxy.dtype == np.float32
    np.testing.assert_array_equal(xyxy, np.array(expected, np.float32))


def test_a_marked_rectangle_is_found_where_its_box_says() -> None:
    """Geometry and pixels agree: an edge in the source shows at the mapped place in the input."""
    bgr = np.zeros((333, 500, 3), np.uint8)
    bgr[90:210, 150:400] = 255
    letterbox = Letterbox.fit((333, 500), (320, 320))
    bright = written(bgr, letterbox, Normalisation(padding=0))[0] > 0.5
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    seen = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float64)
    truth = np.array([[150, 90, 400, 210]], np.float64)
    assert np.abs(letterbox.to_input(truth) - seen).max() <= 0.5
