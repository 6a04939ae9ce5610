"""Preprocessing by the card's own image processors: geometry, pixels, and what it refuses.

How to run it: docs/devices.md. Figures are printed with -s, to be sent back.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec, Normalisation
from tests.card.cases import need_library
from tests.device.bmcv_cases import BEYOND_THE_SCALER_HW, by_hand
from tests.device.cases import Case
from tpu_worker.devices.bmcv import CardPreprocessor, truncating_letterbox
from tpu_worker.launch import Prepared

pytestmark = pytest.mark.card

SPEC = Case(name="sail", model="tiny_fp32_1b").spec
SIZES_HW = [(64, 96), (480, 640), (640, 480), (426, 640), (333, 100), (320, 1920), (1080, 1920), (2048, 3072)]
# Steps of 0 … 255 by which two decoders and two scalers may differ on soft colours: JPEG and the conversion from YUV
# leave some rounding each, a scaler's fixed-point weights one or two more. Half a pixel's shift or limited-range YUV
# taken for full range would be more than the mean, swapped channels far more than either.
MEAN_STEPS, MOST_STEPS = 3.0, 24.0


def spec_of(channels: str) -> ModelSpec:
    """The network's spec with pixels of 0 … 255 for its input, so that differences are steps."""
    normalisation = Normalisation.model_validate(
        {"channels": channels, "mean": (0.0, 0.0, 0.0), "scale": (1.0, 1.0, 1.0), "padding": 114}
    )
    return SPEC.model_copy(update={"normalisation": normalisation})


def soft_jpeg(path: Path, size_hw: tuple[int, int], *options: int) -> Path:
    """Slow waves, another one in each channel: nothing that decoders of half the colour resolution dispute."""
    height, width = size_hw
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = (np.sin(3 * rows + columns), np.cos(2 * columns), np.sin(2 * (rows + columns) + 1))
    bgr = np.stack([128 + 90 * wave for wave in waves], axis=2).astype(np.uint8)
    return written(path, bgr, *options)


def written(path: Path, bgr: NDArray[np.uint8], *options: int) -> Path:
    ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95, *options])
    assert ok
    path.write_bytes(data.tobytes())
    return path


def prepared_by(
    spec: ModelSpec, path: Path, size_hw: tuple[int, int], card_id: int
) -> tuple[Prepared | None, NDArray[np.float32]]:
    need_library("sail")
    target = np.full((3, *spec.input_hw), np.nan, np.float32)
    return CardPreprocessor(device_id=card_id, spec=spec).write(path, size_hw, target), target


def assert_near(target: NDArray[np.float32], wanted: NDArray[np.float32], what: str) -> None:
    steps = np.abs(target - wanted)
    print(f"{what}: {steps.mean():.2f} steps of 255 apart in the mean, {steps.max():.0f} at most")  # noqa: T201
    assert steps.mean() <= MEAN_STEPS
    assert steps.max() <= MOST_STEPS


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("size_hw", SIZES_HW, ids=str)
def test_pixels_are_near_the_hosts(
    card_id: int, tmp_path: Path, size_hw: tuple[int, int], channels: str
) -> None:
    spec, path = spec_of(channels), soft_jpeg(tmp_path / "a.jpg", size_hw)
    prepared, target = prepared_by(spec, path, size_hw, card_id)
    assert prepared is not None
    assert prepared.prepared_on == "card"
    assert_near(target, by_hand(path, prepared.letterbox, spec), f"{size_hw} {channels}")


@pytest.mark.parametrize("size_hw", SIZES_HW, ids=str)
def test_the_image_lies_where_boxes_are_mapped_back_from(
    card_id: int, tmp_path: Path, size_hw: tuple[int, int]
) -> None:
    """A white image on the grey of the padding: its edges must be those of the letterbox, to the pixel."""
    spec, path = spec_of("rgb"), written(tmp_path / "a.jpg", np.full((*size_hw, 3), 255, np.uint8))
    prepared, target = prepared_by(spec, path, size_hw, card_id)
    assert prepared is not None
    box = truncating_letterbox(size_hw, spec.input_hw)
    assert prepared.letterbox == box
    is_white: NDArray[np.bool_] = np.all(target > 200, axis=0)
    rows, columns = np.flatnonzero(is_white.any(axis=1)), np.flatnonzero(is_white.any(axis=0))
    height, width = box.resized_hw
    assert (rows[0], rows[-1] + 1) == (box.top, box.top + height)
    assert (columns[0], columns[-1] + 1) == (box.left, box.left + width)
    assert is_white.sum() == height * width
    np.testing.assert_allclose(target[:, ~is_white], 114, atol=1)


@pytest.mark.parametrize("size_hw", BEYOND_THE_SCALER_HW, ids=str)
def test_what_the_scaler_does_not_take_is_left_to_the_host(
    card_id: int, tmp_path: Path, size_hw: tuple[int, int]
) -> None:
    """(20, 1000), for one, would be a single row of this network's input."""
    path = written(tmp_path / "a.jpg", np.full((*size_hw, 3), 255, np.uint8))
    prepared, target = prepared_by(spec_of("rgb"), path, size_hw, card_id)
    assert prepared is None
    assert np.isnan(target).all()


def test_mean_and_scale_are_applied_in_float(card_id: int, tmp_path: Path) -> None:
    normalisation = Normalisation.model_validate(
        {"channels": "rgb", "mean": (10.0, 20.0, 30.0), "scale": (1 / 50, 1 / 60, 1 / 70), "padding": 114}
    )
    plain, scaled = spec_of("rgb"), SPEC.model_copy(update={"normalisation": normalisation})
    path = soft_jpeg(tmp_path / "a.jpg", (480, 640))
    (_, pixels), (_, values) = (prepared_by(spec, path, (480, 640), card_id) for spec in (plain, scaled))
    mean, scale = (np.reshape(each, (3, 1, 1)) for each in (normalisation.mean, normalisation.scale))
    np.testing.assert_allclose(values, (pixels - mean) * scale, atol=0.01)


def test_a_progressive_jpeg_is_right_or_left_to_the_host(card_id: int, tmp_path: Path) -> None:
    """Which of the two depends on the vendor's version, and is printed."""
    spec = spec_of("rgb")
    path = soft_jpeg(tmp_path / "p.jpg", (480, 640), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    prepared, target = prepared_by(spec, path, (480, 640), card_id)
    print(f"a progressive JPEG is prepared on the {'host' if prepared is None else 'card'}")  # noqa: T201
    if prepared is None:
        assert np.isnan(target).all(), "what is refused must leave the input alone"
    else:
        assert_near(target, by_hand(path, prepared.letterbox, spec), "progressive")


def test_a_file_that_is_cut_off_never_passes_for_a_whole_one(card_id: int, tmp_path: Path) -> None:
    whole = soft_jpeg(tmp_path / "a.jpg", (480, 640))
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:300])
    prepared, target = prepared_by(spec_of("rgb"), cut, (480, 640), card_id)
    assert prepared is None
    assert np.isnan(target).all()
