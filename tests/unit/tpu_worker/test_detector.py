"""From image files to results on one device: order, batches, threads, failures."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from bmodel.errors import DeviceError
from tests.helpers.detector_runs import content, detect, found, write_images
from tests.helpers.image_files import encode, landscape, png_claiming
from tests.helpers.pixel_device import PixelDevice
from tests.helpers.small_specs import head_spec
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.values import ImageResult


@pytest.mark.parametrize("levels", [3, 4])
@pytest.mark.parametrize("batch", [1, 4])
def test_threads_change_nothing(tmp_path: Path, batch: int, levels: int) -> None:
    images = write_images(tmp_path)
    (tmp_path / "3.png").write_bytes(b"")
    results = [
        content(detect(images, DetectOptions(conf=0.2, prepare_threads=n), batch=batch, levels=levels))
        for n in (1, 2, 5)
    ]
    assert results[0] == results[1] == results[2]


def test_every_image_of_a_batch_gets_its_own_result(tmp_path: Path) -> None:
    images = write_images(tmp_path)
    apart = detect(images, batch=1)
    together = detect(images, batch=4)
    assert [result.image for result in together] == images
    assert [result.batch for result in together] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert [result.batch for result in apart] == list(range(11))
    for one, other in zip(apart, together, strict=True):
        for expected, value in zip(found(one), found(other), strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-4)


def test_a_partial_batch_is_filled_with_zeros(tmp_path: Path) -> None:
    images = write_images(tmp_path)
    (tmp_path / "5.png").write_bytes(b"no image")
    device = PixelDevice(head_spec(batch=4))
    with Detector(device, DetectOptions(prepare_threads=1)) as detector:
        for _ in range(3):  # buffers that held images are used again
            results = detector.detect(images)
            assert len(results) == 11
            assert [result.failure is not None for result in results] == [n == 5 for n in range(11)]
    for call in range(3):
        used = [[bool(image.any()) for image in batch] for batch in device.batches[3 * call : 3 * call + 3]]
        assert used == [[True] * 4, [True, False, True, True], [True, True, True, False]]


def test_a_batch_of_failures_never_reaches_the_device(tmp_path: Path) -> None:
    images = write_images(tmp_path, 6)
    for number in (2, 3):
        (tmp_path / f"{number}.png").unlink()
    device = PixelDevice(head_spec(batch=2))
    with Detector(device, DetectOptions()) as detector:
        results = detector.detect(images)
    assert len(device.batches) == 2
    assert [result.batch for result in results] == [0, 0, 1, 1, 2, 2]


def test_two_callers_share_the_device_and_get_their_own(tmp_path: Path) -> None:
    images = write_images(tmp_path)
    shards = [images[:5], images[5:], images[3:9], images[::-1]]
    device = PixelDevice(head_spec(batch=4))
    results: dict[int, list[ImageResult]] = {}
    with Detector(device, DetectOptions(conf=0.2)) as detector:
        alone = [content(detector.detect(shard)) for shard in shards]
        launches = len(device.batches)

        def work(number: int) -> None:
            results[number] = detector.detect(shards[number])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(shards))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [content(results[number]) for number in range(len(shards))] == alone
    assert len(device.batches) == 2 * launches


def test_a_failed_image_is_a_row_with_its_reason(tmp_path: Path) -> None:
    images = write_images(tmp_path, 5)
    (tmp_path / "0.png").write_bytes(encode(".jpg", landscape())[:-2])
    (tmp_path / "2.png").write_bytes(png_claiming(60_000, 60_000))
    (tmp_path / "4.png").unlink()
    results = detect(images, batch=2)
    reasons = [result.failure.reason if result.failure else None for result in results]
    assert reasons[0] == "the JPEG file is truncated: it has no end-of-image marker"
    assert reasons[2] is not None
    assert "more than the limit" in reasons[2]
    assert reasons[4] == "cannot read the file: No such file or directory"
    for result in results[::2]:
        assert (result.size_hw, result.detections) == (None, None)
        assert result.failure is not None
        assert result.failure.stage == "read"
    assert all(len(found(result)[0]) > 0 for result in results[1::2])


def test_no_images_are_no_results() -> None:
    assert detect([]) == []


def test_times_are_of_this_run(tmp_path: Path) -> None:
    for result in detect(write_images(tmp_path), batch=2):
        times = result.times
        assert min(times.read_ms, times.preprocess_ms, times.inference_ms, times.postprocess_ms) > 0
        spent_ms = times.read_ms + times.preprocess_ms + times.inference_ms + times.postprocess_ms
        # The two clocks differ: one may be adjusted.
        assert spent_ms <= (result.finished_s - result.started_s) * 1e3 + 50


def test_results_survive_pickling(tmp_path: Path) -> None:
    results = detect(write_images(tmp_path, 2))
    assert content(pickle.loads(pickle.dumps(results))) == content(results)  # noqa: S301


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("failing", [{1}, {2}, {3}])
def test_a_failing_device_fails_the_call_and_no_other(tmp_path: Path, failing: set[int], batch: int) -> None:
    images = write_images(tmp_path)
    device = PixelDevice(head_spec(batch=batch), failing=frozenset(failing))
    with Detector(device, DetectOptions(conf=0.2)) as detector:
        with pytest.raises(DeviceError, match=f"failed in call {min(failing)}"):
            detector.detect(images)
        again = detector.detect(images)
    assert content(again) == content(detect(images, batch=batch))


def test_nonsense_from_the_device_fails_the_call(tmp_path: Path) -> None:
    device = PixelDevice(head_spec(), nonsense=frozenset({2}))
    with Detector(device, DetectOptions()) as detector, pytest.raises(DeviceError, match="not finite"):
        detector.detect(write_images(tmp_path))


def test_close_gives_the_device_back_once_asked_or_twice(tmp_path: Path) -> None:
    images = write_images(tmp_path, 2)
    device = PixelDevice(head_spec())
    before = set(threading.enumerate())  # of which some may end meanwhile: earlier tests had servers
    detector = Detector(device, DetectOptions(prepare_threads=3))
    assert len(set(threading.enumerate()) - before) == 5
    detector.detect(images)
    detector.close()
    detector.close()
    assert device.closed >= 1
    assert set(threading.enumerate()) <= before
    with pytest.raises(DeviceError, match="closed"):
        detector.detect(images)
