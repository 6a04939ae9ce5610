"""The pipeline's promises, seen with stages that wait where a test wants them to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from bmodel.errors import DeviceError
from tests.helpers.processes import HANG_S
from tpu_worker.boxes import Detections
from tpu_worker.launch import Prepared
from tpu_worker.letterbox import Letterbox
from tpu_worker.pipeline import Outputs, Pipeline
from tpu_worker.values import ImageFailure, ImageRef, ImageResult


class NumberStages:
    """An image is its index: prepared into its pixels, passed on by the device, and found as its confidence.

    Images whose path is "bad" fail; "prepare-error" and "decode-error" raise. While `gate` is closed the device
    waits; `prepared` and `launched` tell what has got how far.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.prepared: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.launched: queue.SimpleQueue[list[float]] = queue.SimpleQueue()
        self.device_error: BaseException | None = None

    def prepare(
        self, image: ImageRef, target: NDArray[np.float32], previous: Letterbox | None
    ) -> Prepared | ImageFailure:
        self.prepared.put(image.index)
        if image.path == "bad":
            return ImageFailure(stage="read", reason=f"bad {image.index}")
        # What a buffer held before is named truly.
        assert previous is None or (target == previous.source_hw[0]).all()
        if image.path == "prepare-error":
            target.fill(-1)
            raise ValueError(f"preparing {image.index}")
        target.fill(1 + image.index)
        return Prepared(letterbox=Letterbox.fit((1 + image.index, 7), (8, 8)), read_ms=1.0, preprocess_ms=2.0)

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        self.launched.put(batch[:, 0, 0, 0].tolist())
        assert self.gate.wait(HANG_S)
        if self.device_error is not None:
            raise self.device_error
        return [batch[:, :1, 0, 0].copy()]

    def postprocess(self, outputs: Outputs, position: int, letterbox: Letterbox) -> Detections:
        number = float(outputs[0][position, 0])
        if letterbox.source_hw[0] == 667:
            raise ValueError("decoding 666")
        assert number == letterbox.source_hw[0]
        return Detections(
            xyxy=np.zeros((1, 4), np.float32),
            confidence=np.array([number], np.float32),
            class_id=np.zeros(1, np.int32),
        )


def images(*indices: int, path: str = "good") -> list[ImageRef]:
    return [ImageRef(index=index, image_id=str(index), path=path) for index in indices]


@contextmanager
def pipeline(stages: NumberStages, *, batch: int = 2, prepare_threads: int = 2) -> Iterator[Pipeline]:
    running = Pipeline(stages, input_shape=(batch, 3, 8, 8), prepare_threads=prepare_threads)
    try:
        yield running
    finally:
        stages.gate.set()
        running.close()


def numbers(results: list[ImageResult]) -> list[float | None]:
    found = [result.detections for result in results]
    return [None if detections is None else float(detections.confidence[0]) - 1 for detections in found]


class Caller(threading.Thread):
    """A call of `run` in its own thread."""

    def __init__(self, running: Pipeline, refs: list[ImageRef]) -> None:
        super().__init__(daemon=True)
        self._running = running
        self._refs = refs
        self.results: list[ImageResult] | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.results = self._running.run(self._refs)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def finished(self) -> Caller:
        self.join(HANG_S)
        assert not self.is_alive()
        return self


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("prepare_threads", [1, 2, 7])
def test_results_come_in_the_order_of_the_images(batch: int, prepare_threads: int) -> None:
    order = [int(n) for n in np.random.default_rng(0).permutation(40)]
    with pipeline(NumberStages(), batch=batch, prepare_threads=prepare_threads) as running:
        for _ in range(3):
            results = running.run(images(*order))
            assert numbers(results) == order
            assert [result.image.index for result in results] == order
            assert [result.batch for result in results] == [place // batch for place in range(40)]


def test_results_carry_size_and_times() -> None:
    with pipeline(NumberStages()) as running:
        (result,) = running.run(images(4))
    assert result.size_hw == (5, 7)
    assert (result.times.read_ms, result.times.preprocess_ms) == (1.0, 2.0)
    assert min(result.times.inference_ms, result.times.postprocess_ms) > 0
    assert 0 < result.started_s <= result.finished_s


def test_a_failed_image_leaves_a_zeroed_hole() -> None:
    stages = NumberStages()
    with pipeline(stages, batch=3, prepare_threads=1) as running:
        running.run(images(*range(20)))
        while not stages.launched.empty():
            stages.launched.get()
        results = running.run([*images(1), *images(2, path="bad"), *images(3, 4)])
    assert numbers(results) == [1, None, 3, 4]
    assert results[1].failure == ImageFailure(stage="read", reason="bad 2")
    assert results[1].size_hw is None
    launched = [stages.launched.get(), stages.launched.get()]
    assert sorted(launched) == [[2.0, 0.0, 4.0], [5.0, 0.0, 0.0]]


def test_a_launch_without_images_is_left_out() -> None:
    stages = NumberStages()
    with pipeline(stages) as running:
        assert numbers(running.run([*images(1, 2, path="bad"), *images(3)])) == [None, None, 3]
    assert stages.launched.get() == [4.0, 0.0]
    assert stages.launched.empty()


def test_preparing_runs_ahead_of_a_busy_device_but_not_without_end() -> None:
    stages = NumberStages()
    stages.gate.clear()
    with pipeline(stages, batch=2, prepare_threads=2) as running:
        caller = Caller(running, images(*range(100)))
        # Three buffers: one at the device, two ready behind it.
        assert {stages.prepared.get(timeout=HANG_S) for _ in range(6)} == set(range(6))
        assert stages.launched.get(timeout=HANG_S) in ([1.0, 2.0], [3.0, 4.0], [5.0, 6.0])
        with pytest.raises(queue.Empty):
            stages.prepared.get(timeout=0.2)
        stages.gate.set()
        assert numbers(caller.finished().results or []) == list(range(100))


def test_a_second_call_is_prepared_while_the_first_is_at_the_device() -> None:
    stages = NumberStages()
    stages.gate.clear()
    with pipeline(stages, batch=2, prepare_threads=2) as running:
        first = Caller(running, images(0, 1))
        assert stages.launched.get(timeout=HANG_S) == [1.0, 2.0]
        second = Caller(running, images(10, 11))
        assert {stages.prepared.get(timeout=HANG_S) for _ in range(4)} == {0, 1, 10, 11}
        stages.gate.set()
        results = [numbers(caller.finished().results or []) for caller in (first, second)]
        assert results == [[0, 1], [10, 11]]


@pytest.mark.parametrize("error", [DeviceError("the card died"), ValueError("a bug"), MemoryError()])
def test_an_error_of_the_device_ends_the_call_and_no_other(error: BaseException) -> None:
    stages = NumberStages()
    with pipeline(stages) as running:
        stages.device_error = error
        with pytest.raises(type(error)) as caught:
            running.run(images(*range(50)))
        assert caught.value is error
        stages.device_error = None
        assert numbers(running.run(images(*range(50)))) == list(range(50))


def test_after_an_error_of_the_device_the_rest_of_the_call_is_skipped() -> None:
    stages = NumberStages()
    stages.device_error = DeviceError("the card died")
    with pipeline(stages, batch=1, prepare_threads=1) as running, pytest.raises(DeviceError):
        running.run(images(*range(1000)))
    assert stages.launched.qsize() == 1
    assert stages.prepared.qsize() < 20


def test_after_an_error_in_preparing_the_rest_of_the_call_is_skipped() -> None:
    stages = NumberStages()
    refs = [*images(0), *images(1, path="prepare-error"), *images(*range(2, 1000))]
    with pipeline(stages, batch=8, prepare_threads=1) as running:
        with pytest.raises(ValueError, match="preparing 1"):
            running.run(refs)
        assert numbers(running.run(images(*range(50)))) == list(range(50))
    assert stages.prepared.qsize() == 2 + 50
    assert stages.launched.qsize() == 7


@pytest.mark.parametrize(
    "refs", [[*images(0, 1), *images(2, path="prepare-error"), *images(3)], images(0, 666, 3, 4)]
)
def test_an_error_of_a_stage_reaches_the_caller(refs: list[ImageRef]) -> None:
    with pipeline(NumberStages()) as running:
        # Every buffer has been used before, and is used again, the one left half written too.
        assert numbers(running.run(images(*range(20)))) == list(range(20))
        with pytest.raises(ValueError, match=r"preparing 2|decoding 666"):
            running.run(refs)
        assert numbers(running.run(images(*range(20)))) == list(range(20))


def test_many_callers_at_once() -> None:
    with pipeline(NumberStages(), batch=3, prepare_threads=3) as running:
        callers = [Caller(running, images(*range(n, n + 30))) for n in range(0, 600, 30)]
        for place, caller in enumerate(callers):
            assert numbers(caller.finished().results or []) == list(range(30 * place, 30 * place + 30))


def test_close_lets_a_call_finish_first() -> None:
    stages = NumberStages()
    stages.gate.clear()
    before = set(threading.enumerate())
    running = Pipeline(stages, input_shape=(1, 3, 8, 8), prepare_threads=1)
    caller = Caller(running, images(1, 2))
    stages.launched.get(timeout=HANG_S)
    closer = threading.Thread(target=running.close)
    closer.start()
    stages.gate.set()
    closer.join(HANG_S)
    assert numbers(caller.finished().results or []) == [1, 2]
    assert not closer.is_alive()
    assert set(threading.enumerate()) <= before
    running.close()
    with pytest.raises(DeviceError, match="closed"):
        running.run(images(1))
