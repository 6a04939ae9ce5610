"""Comparing a compiled network with its twin, and the images that both are fed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bmodel.errors import ConfigurationError, ToolError
from bmodel.model_file import load_spec
from bmodel.sidecar import Normalisation, Placement, Precision
from jobs.build.compile.source_network import choose_images, letterboxed, write_calibration_images
from jobs.build.compile.verify import LIMITS, Outputs, compare, failure, read_batches
from tests.helpers.paths import ROOT
from tpu_worker.letterbox import InputWriter, Letterbox

HEADS = ((1, 3, 8, 12, 8), (1, 3, 4, 6, 8))


def _outputs(seed: int) -> Outputs:
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape).astype(np.float32) * 4 for shape in HEADS]


def _noisy(outputs: Outputs, noise: float) -> Outputs:
    random = np.random.default_rng(9)
    return [(head + noise * random.standard_normal(head.shape)).astype(np.float32) for head in outputs]


@pytest.mark.parametrize(
    ("precision", "noise", "passed"),
    [
        ("fp32", 0.0, True),
        ("fp32", 1e-4, True),
        ("fp32", 0.2, False),
        ("int8", 0.2, True),
        ("mixed", 0.2, True),
        ("int8", 4.0, False),
        ("mixed", 4.0, False),
    ],
)
def test_passes_within_its_limit(precision: Precision, noise: float, *, passed: bool) -> None:
    expected = [_outputs(0), _outputs(1)]
    found = compare([_noisy(out, noise) for out in expected], expected, images=2, precision=precision)
    assert found.passed is passed
    assert len(found.cosine) == len(found.max_abs_difference) == len(HEADS)
    if not passed:
        assert f"cosine at least {LIMITS[precision].cosine}" in failure(found, precision)


def test_measures_cosine_and_difference_a_head() -> None:
    expected = _outputs(0)
    simulated = [expected[0].copy(), expected[1] * np.float32(-1)]
    simulated[0][0, 0, 0, 0, 0] += 0.25
    found = compare([simulated], [expected], images=1, precision="int8")
    assert found.cosine[1] == pytest.approx(-1)
    assert found.max_abs_difference[0] == pytest.approx(0.25)
    assert not found.passed


def test_one_bad_value_in_a_head_fails_fp32() -> None:
    expected = _outputs(0)
    simulated = [head.copy() for head in expected]
    simulated[1].flat[7] += 0.02 * float(np.abs(expected[1]).max())
    assert not compare([simulated], [expected], images=1, precision="fp32").passed


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_what_is_not_finite(value: float) -> None:
    expected = _outputs(0)
    simulated = [head.copy() for head in expected]
    simulated[1].flat[0] = value
    with pytest.raises(ToolError, match="head 1 holds values that are not finite"):
        compare([simulated], [expected], images=1, precision="int8")


def test_a_head_of_zeros_is_no_match() -> None:
    expected = _outputs(0)
    assert not compare([[np.zeros_like(h) for h in expected]], [expected], images=1, precision="int8").passed


def _write_images(folder: Path, sizes: list[tuple[int, int]]) -> list[Path]:
    random = np.random.default_rng(3)
    folder.mkdir(exist_ok=True)
    paths = []
    for number, size_hw in enumerate(sizes):
        paths.append(folder / f"{number}.png")
        cv2.imwrite(str(paths[-1]), random.integers(0, 256, (*size_hw, 3), dtype=np.uint8))
    return paths


@pytest.mark.parametrize("size_hw", [(64, 96), (100, 37), (31, 200), (480, 640), (1, 1)])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("placement", ["centre", "top-left", "stretch"])
def test_the_compiler_sees_what_the_detector_feeds(
    size_hw: tuple[int, int], channels: str, placement: Placement
) -> None:
    normalisation = Normalisation.model_validate(
        {"channels": channels, "mean": (1, 2, 3), "scale": (0.5, 0.25, 1), "placement": placement}
    )
    bgr = np.random.default_rng(5).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    pixels = letterboxed(bgr, (64, 96), normalisation)
    ordered = pixels[..., ::-1] if channels == "rgb" else pixels
    by_hand = (ordered.astype(np.float64) - normalisation.mean) * normalisation.scale
    fed: NDArray[np.float32] = np.empty((3, 64, 96), np.float32)
    place = Letterbox.fit(size_hw, (64, 96), placement)
    InputWriter(normalisation, (64, 96)).write(bgr, place, fed, None)
    assert np.array_equal(fed, by_hand.transpose(2, 0, 1).astype(np.float32))


def test_writes_calibration_images_of_the_inputs_size(tmp_path: Path) -> None:
    paths = _write_images(tmp_path / "in", [(10, 20), (300, 200)])
    write_calibration_images(paths, tmp_path / "out", input_hw=(64, 96), normalisation=Normalisation())
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == ["0000.png", "0001.png"]
    for path in written:
        image = cv2.imread(str(path))
        assert image is not None
        assert image.shape == (64, 96, 3)


def test_chooses_images_evenly(tmp_path: Path) -> None:
    paths = _write_images(tmp_path / "in", [(4, 4)] * 10)
    assert choose_images(tmp_path / "in", 99, option="--x") == paths
    chosen = choose_images(tmp_path / "in", 4, option="--x")
    assert [path.name for path in chosen] == ["0.png", "2.png", "5.png", "7.png"]


def test_refuses_an_empty_calibration_folder_and_broken_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--calibration: there is no"):
        choose_images(tmp_path / "missing", 5, option="--calibration")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=r"^--calibration: (?!--images)"):
        choose_images(tmp_path / "empty", 5, option="--calibration")
    (broken,) = _write_images(tmp_path / "in", [(30, 30)])
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(ConfigurationError, match=r"--calibration: '.*0\.png' cannot be used"):
        write_calibration_images([broken], tmp_path / "out", input_hw=(64, 96), normalisation=Normalisation())


@pytest.mark.parametrize(("images", "launches"), [(1, 1), (4, 1), (5, 2)])
def test_fills_launches_up(tmp_path: Path, images: int, launches: int) -> None:
    spec = load_spec(ROOT / "bmodel/tiny_fp32_4b.bmodel")
    paths = _write_images(tmp_path / "in", [(20, 30)] * images)
    batches = read_batches(spec, paths)
    assert [batch.shape for batch in batches] == [(4, 3, 64, 96)] * launches
    flat = np.concatenate(batches)
    for position, image in enumerate(flat):
        again = read_batches(spec, [paths[(position // 4 * 4 + position % 4) % images]])[0][0]
        assert np.array_equal(image, again)
