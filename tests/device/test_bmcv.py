"""Preprocessing on the card: geometry, pixels, and what is left to the host. Shown on the stand-in's operations."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from bmodel.errors import ConfigurationError
from bmodel.sidecar import Normalisation
from tests.device.bmcv_cases import (
    BEYOND_THE_SCALER_HW,
    WITHIN_THE_SCALER_HW,
    by_hand,
    jpeg,
    picture,
    with_exif,
)
from tests.device.cases import Case
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tpu_worker.detector import DetectOptions, Detector, _Stages
from tpu_worker.devices import Device, DeviceOptions, TimedOptions, open_device, open_preprocessor
from tpu_worker.devices.bmcv import CardPreprocessor, truncating_letterbox
from tpu_worker.launch import Prepared
from tpu_worker.letterbox import Letterbox
from tpu_worker.values import ImageRef

CASE = Case(name="sail", model="tiny_fp32_1b")
SPEC = CASE.spec


@pytest.fixture
def card(stand_in: ModuleType) -> CardPreprocessor:
    return CardPreprocessor(device_id=0, spec=SPEC)


def timed_device() -> Device:
    timed = TimedOptions(service_ms=0.0)
    return open_device(DeviceOptions(name="timed", spec=SPEC, model_path=None, timed=timed))


@pytest.mark.parametrize(
    ("source_hw", "resized_hw", "top", "left"),
    [
        ((64, 96), (64, 96), 0, 0),
        ((480, 640), (64, 85), 0, 5),
        ((640, 480), (64, 48), 0, 24),
        # 96 * 426 / 640 = 63.9: the vendor's way cuts it, ours rounds it.
        ((426, 640), (63, 96), 0, 0),
        ((20, 1000), (1, 96), 31, 0),
        ((16, 4096), (1, 96), 31, 0),
    ],
)
def test_sides_are_cut_as_the_vendor_cuts_them(
    source_hw: tuple[int, int], resized_hw: tuple[int, int], top: int, left: int
) -> None:
    letterbox = truncating_letterbox(source_hw, (64, 96))
    assert (letterbox.resized_hw, letterbox.top, letterbox.left) == (resized_hw, top, left)
    # Boxes come back through the numbers that were used.
    whole = np.array([[0, 0, source_hw[1], source_hw[0]]], np.float32)
    np.testing.assert_allclose(letterbox.to_source(letterbox.to_input(whole)), whole, atol=1e-3)
    edges = letterbox.to_input(whole)[0]
    np.testing.assert_allclose(edges, (left, top, left + resized_hw[1], top + resized_hw[0]), atol=1e-9)


def test_the_cards_letterbox_lies_where_the_network_wants_it() -> None:
    centred = truncating_letterbox((50, 31), (64, 96))
    cornered = truncating_letterbox((50, 31), (64, 96), "top-left")
    assert (cornered.resized_hw, cornered.top, cornered.left) == (centred.resized_hw, 0, 0)
    assert centred.left > 0
    stretched = truncating_letterbox((50, 31), (64, 96), "stretch")
    assert (stretched.resized_hw, stretched.top, stretched.left) == ((64, 96), 0, 0)


def test_the_cut_differs_from_ours_where_rounding_goes_up() -> None:
    assert Letterbox.fit((426, 640), (64, 96)).resized_hw == (64, 96)


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("size_hw", [(64, 96), (426, 640), (333, 100), (30, 40)])
def test_pixels_are_what_the_host_would_make_of_them(
    stand_in: ModuleType, tmp_path: Path, channels: str, size_hw: tuple[int, int]
) -> None:
    normalisation = Normalisation.model_validate(
        {"channels": channels, "mean": (10.0, 20.0, 30.0), "scale": (1 / 50, 1 / 60, 1 / 70), "padding": 114}
    )
    spec = SPEC.model_copy(update={"normalisation": normalisation})
    path = jpeg(tmp_path / "a.jpg", *size_hw)
    target = np.full((3, 64, 96), np.nan, np.float32)
    prepared = CardPreprocessor(device_id=0, spec=spec).write(path, size_hw, target)
    assert prepared is not None
    assert prepared.prepared_on == "card"
    assert min(prepared.read_ms, prepared.preprocess_ms) > 0
    np.testing.assert_allclose(target, by_hand(path, prepared.letterbox, spec), atol=1e-6)


def test_decoding_releases_the_interpreter_and_formats_are_converted_first(
    stand_in: ModuleType, card: CardPreprocessor, tmp_path: Path
) -> None:
    assert card.write(jpeg(tmp_path / "a.jpg", 50, 70), (50, 70), np.empty((3, 64, 96), np.float32))
    calls = [call for call in stand_in.stand_in.calls if call not in {"Handle", "Tensor", "asnumpy"}]
    assert calls == [
        *("Decoder", "Decoder.read", "convert_format"),
        *("vpp_resize_padding", "bm_image_to_tensor", "convert_to", "bm_image_to_tensor"),
    ]


def test_the_stand_in_is_as_strict_as_the_card(stand_in: ModuleType, tmp_path: Path) -> None:
    handle = stand_in.Handle(0)
    bmcv = stand_in.Bmcv(handle)
    image = stand_in.Decoder(str(jpeg(tmp_path / "a.jpg", 50, 70)), True, 0).read(handle)
    with pytest.raises(stand_in.SailBMImageError, match="not supported"):
        bmcv.vpp_resize_padding(image, 96, 64, stand_in.PaddingAtrr())
    with pytest.raises(stand_in.SailBMImageError, match="not supported"):
        bmcv.bm_image_to_tensor(image)


@pytest.mark.parametrize("size_hw", WITHIN_THE_SCALER_HW, ids=str)
def test_what_the_scaler_just_takes_is_the_cards(
    card: CardPreprocessor, tmp_path: Path, size_hw: tuple[int, int]
) -> None:
    path, target = jpeg(tmp_path / "a.jpg", *size_hw), np.empty((3, 64, 96), np.float32)
    prepared = card.write(path, size_hw, target)
    assert prepared is not None
    np.testing.assert_allclose(target, by_hand(path, prepared.letterbox, SPEC), atol=1e-6)


@pytest.mark.parametrize("size_hw", BEYOND_THE_SCALER_HW, ids=str)
def test_what_the_scaler_does_not_take_is_the_hosts_and_the_card_is_not_asked(
    stand_in: ModuleType, card: CardPreprocessor, tmp_path: Path, size_hw: tuple[int, int]
) -> None:
    target = np.full((3, 64, 96), 7, np.float32)
    assert card.write(tmp_path / "never read.jpg", size_hw, target) is None
    assert (target == 7).all()
    assert stand_in.stand_in.calls == []


@pytest.mark.parametrize(
    ("input_hw", "reason"),
    [
        ((1024, 1024), "a side may change 32 times, got 16 to 1024 pixels"),
        ((8, 64), "input_hw: sides must be within 16 and 4096 pixels, got (8, 64)"),
        ((64, 4128), "input_hw: sides must be within 16 and 4096 pixels, got (64, 4128)"),
    ],
)
def test_the_networks_input_has_to_suit_the_scaler_too(
    stand_in: ModuleType,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    input_hw: tuple[int, int],
    reason: str,
) -> None:
    shape = (1, 3, *input_hw)
    spec = SPEC.model_copy(update={"input": SPEC.input.model_copy(update={"shape": shape})})
    card = CardPreprocessor(device_id=0, spec=spec)
    path = jpeg(tmp_path / "a.jpg", 16, 16)
    assert card.write(path, (16, 16), np.empty(shape[1:], np.float32)) is None
    assert caplog.messages == [
        f"the card refuses '{path}' first, so the host prepares it: ValueError: {reason}"
    ]


@pytest.mark.parametrize(
    ("size_hw", "input_hw", "resized_hw"),
    [
        ((15, 70), (64, 96), (20, 96)),
        ((20, 1000), (64, 96), (1, 96)),
        ((70, 4097), (64, 4096), (64, 4096)),
        ((100, 100), (64, 96), (15, 96)),
        ((100, 100), (15, 96), (15, 96)),
        ((2049, 3072), (64, 96), (64, 96)),
        ((16, 16), (640, 640), (513, 513)),
        ((100, 100), (64, 96), (65, 96)),
    ],
)
def test_the_stand_in_scales_no_more_than_the_card(
    stand_in: ModuleType, size_hw: tuple[int, int], input_hw: tuple[int, int], resized_hw: tuple[int, int]
) -> None:
    sail = stand_in
    handle, padding = sail.Handle(0), sail.PaddingAtrr()
    padding.set_h(resized_hw[0])
    padding.set_w(resized_hw[1])
    image = sail.BMImage(handle, *size_hw, sail.Format.FORMAT_RGB_PLANAR, sail.ImgDtype.DATA_TYPE_EXT_1N_BYTE)
    with pytest.raises(sail.SailBMImageError, match="BMImage related error!"):
        sail.Bmcv(handle).vpp_resize_padding(image, input_hw[1], input_hw[0], padding)


def test_what_the_card_refuses_leaves_the_input_alone_and_the_first_reason_is_told(
    stand_in: ModuleType, card: CardPreprocessor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = np.full((3, 64, 96), 7, np.float32)
    progressive = jpeg(tmp_path / "p.jpg", 50, 70, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    plain = jpeg(tmp_path / "a.jpg", 50, 70)
    assert card.write(progressive, (50, 70), target) is None
    assert card.write(plain, (50, 71), target) is None
    assert card.write(jpeg(tmp_path / "a.Jpg", 50, 70), (50, 70), target) is None
    stand_in.stand_in.errors["convert_to"] = RuntimeError("bmcv api fail")
    assert card.write(plain, (50, 70), target) is None
    assert (target == 7).all()
    [told] = caplog.messages
    assert told == (
        f"the card refuses '{progressive}' first, so the host prepares it: "
        "SailDecoderError: the decoder takes baseline JPEGs only"
    )
    assert card.write(plain, (50, 70), target) is not None


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ("convert_format", "convert_format failed on the card with status 1"),
        ("convert_to", "the card did not normalise the image"),
    ],
)
def test_a_failure_that_sail_does_not_raise_is_seen(
    stand_in: ModuleType,
    card: CardPreprocessor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    operation: str,
    reason: str,
) -> None:
    path, target = jpeg(tmp_path / "a.jpg", 50, 70), np.full((3, 64, 96), 7, np.float32)
    stand_in.stand_in.statuses[operation] = 1
    assert card.write(path, (50, 70), target) is None
    assert (target == 7).all()
    assert caplog.messages == [
        f"the card refuses '{path}' first, so the host prepares it: ValueError: {reason}"
    ]
    assert card.write(path, (50, 70), target) is not None


def test_threads_prepare_side_by_side(card: CardPreprocessor, tmp_path: Path) -> None:
    sizes = [(50 + 10 * number, 70) for number in range(4)]
    paths = [jpeg(tmp_path / f"{number}.jpg", *size) for number, size in enumerate(sizes)]
    wrong: list[int] = []

    def work(number: int) -> None:
        target = np.empty((3, 64, 96), np.float32)
        for _ in range(5):
            prepared = card.write(paths[number], sizes[number], target)
            if prepared is None or not np.allclose(
                target, by_hand(paths[number], prepared.letterbox, SPEC), atol=1e-6
            ):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_detector_mixes_both_ways_and_says_which(card: CardPreprocessor, tmp_path: Path) -> None:
    jpeg(tmp_path / "plain.jpg", 426, 640)
    jpeg(tmp_path / "progressive.jpg", 426, 640, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    with_exif(jpeg(tmp_path / "sideways.jpg", 426, 640))
    cv2.imwrite(str(tmp_path / "picture.png"), picture(426, 640))
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "plain.jpg").read_bytes()[:2000])
    names = ["plain.jpg", "progressive.jpg", "sideways.jpg", "picture.png", "broken.jpg", "plain.jpg"]
    images = [
        ImageRef(index=number, image_id=name, path=str(tmp_path / name)) for number, name in enumerate(names)
    ]
    images[5] = replace(images[5], path=(tmp_path / "plain.jpg").as_uri())
    with Detector(timed_device(), DetectOptions(), card) as detector:
        results = detector.detect(images)
    assert [result.prepared_on for result in results] == ["card", "host", "host", "host", "host", "card"]
    assert [result.size_hw for result in results] == [
        *((426, 640), (426, 640), (640, 426), (426, 640)),
        *(None, (426, 640)),
    ]
    assert [result.failure is not None for result in results] == [False] * 4 + [True, False]
    first, again = results[0].detections, results[5].detections
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.xyxy, again.xyxy)


@pytest.mark.parametrize("prepared_on", ["card", "host"])
def test_the_times_are_all_that_preparing_took_whichever_way_it_went(
    stand_in: ModuleType, card: CardPreprocessor, tmp_path: Path, prepared_on: str
) -> None:
    # A long file, so that reading it for its header takes a while, and a slow card.
    path = jpeg(tmp_path / "long.jpg", 426, 640)
    path.write_bytes(path.read_bytes() + bytes(64 << 20))
    image = ImageRef(index=0, image_id="long", path=str(path))
    device = timed_device()
    stages = _Stages(device, DetectOptions(), card)
    shares: list[float] = []
    # The best of ten: what a busy machine takes between two readings of the clock is nobody's time.
    while len(shares) < 10 and max(shares, default=0.0) < 0.97:
        stand_in.stand_in.delays_s["Decoder.read"] = 0.1
        if prepared_on == "host":
            stand_in.stand_in.errors["Decoder.read"] = RuntimeError("the decoder hangs")
        started = time.perf_counter()
        prepared = stages.prepare(image, np.empty((3, 64, 96), np.float32), None)
        lasted_ms = (time.perf_counter() - started) * 1e3
        assert isinstance(prepared, Prepared)
        assert prepared.prepared_on == prepared_on
        assert prepared.read_ms >= 100
        assert prepared.read_ms + prepared.preprocess_ms <= lasted_ms
        shares.append((prepared.read_ms + prepared.preprocess_ms) / lasted_ms)
    device.close()
    assert max(shares) >= 0.97


def test_letterboxing_on_the_card_counts_as_preprocessing(
    stand_in: ModuleType, card: CardPreprocessor, tmp_path: Path
) -> None:
    stand_in.stand_in.delays_s["vpp_resize_padding"] = 2.0
    path = jpeg(tmp_path / "a.jpg", 50, 70)
    prepared = card.write(path, (50, 70), np.empty((3, 64, 96), np.float32))
    assert prepared is not None
    assert prepared.preprocess_ms >= 2000
    assert prepared.read_ms < 2000


def test_what_exif_turns_is_the_hosts_even_where_exif_is_ignored(
    card: CardPreprocessor, tmp_path: Path
) -> None:
    path = with_exif(jpeg(tmp_path / "sideways.jpg", 426, 640))
    with Detector(timed_device(), DetectOptions(ignore_exif=True), card) as detector:
        [result] = detector.detect([ImageRef(index=0, image_id="sideways", path=str(path))])
    assert (result.prepared_on, result.size_hw) == ("host", (426, 640))


def test_the_option_opens_it_for_sail_alone(stand_in: ModuleType) -> None:
    options = CASE.options
    assert open_preprocessor(options) is None
    assert isinstance(open_preprocessor(replace(options, preprocess="bmcv")), CardPreprocessor)
    with pytest.raises(ConfigurationError, match="preprocess: bmcv needs the device 'sail', got 'cpu'"):
        replace(options, name="cpu", preprocess="bmcv")


def test_a_build_of_sail_without_image_operations_is_told(tmp_path: Path) -> None:
    (tmp_path / "sophon").mkdir()
    (tmp_path / "sophon/__init__.py").write_text("")
    (tmp_path / "sophon/sail.py").write_text("")
    script = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]
from tests.device.cases import Case
from tpu_worker.devices.bmcv import CardPreprocessor
try:
    CardPreprocessor(device_id=0, spec=Case(name="sail", model="tiny_fp32_1b").spec)
except Exception as error:
    print(type(error).__name__, error)
"""
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANG_S)
    assert outcome.stdout == (
        "LibraryError preprocess: this build of SAIL has no image operations (BMCV)\n"
    ), outcome.stderr
