"""Preparing, inference and postprocessing side by side, so that the device never waits for the host.

    detect()  ──►  prepare (a few threads)  ──►  device (one thread)  ──►  postprocess (one thread)  ──►  results
              buffers                      ready launches            outputs

A launch is one batch of one call. Its buffer, the preallocated input array, is given out by the caller's thread and
comes back when the device has run, so the buffers bound both memory and how far preparing runs ahead. A launch
never mixes two calls: what an image becomes does not depend on what else is under way.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import DeviceError
from tpu_worker.boxes import Detections
from tpu_worker.launch import Buffer, Call, Launch, Prepared
from tpu_worker.letterbox import Letterbox
from tpu_worker.values import ImageFailure, ImageRef, ImageResult, StageTimes

Outputs = list[NDArray[np.float32]]

# Launches whose outputs wait for postprocessing; more would only delay the moment at which preparing is held back.
_POSTPROCESS_QUEUE: Final = 2


class Stages(Protocol):
    """What the pipeline runs; `prepare` is called by several threads at once, the others by one each."""

    def prepare(
        self, image: ImageRef, target: NDArray[np.float32], previous: Letterbox | None
    ) -> Prepared | ImageFailure:
        """Write an image into `target` (3, H, W), which holds an image of letterbox `previous`."""

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Run the device."""

    def postprocess(self, outputs: Outputs, position: int, letterbox: Letterbox) -> Detections:
        """Detections of the image at `position` in the batch."""


class Pipeline:
    """The threads and queues of one device; `run` may be called by several threads at once."""

    def __init__(
        self, stages: Stages, *, input_shape: tuple[int, int, int, int], prepare_threads: int
    ) -> None:
        self._stages = stages
        self._batch = input_shape[0]
        self._free: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
        # One buffer runs, one is ready, and the threads need enough of them to work on.
        for _ in range(2 + -(-prepare_threads // self._batch)):
            self._free.put(Buffer(input_shape))
        self._to_prepare: queue.SimpleQueue[tuple[Launch, int] | None] = queue.SimpleQueue()
        self._to_run: queue.SimpleQueue[Launch | None] = queue.SimpleQueue()
        self._to_postprocess: queue.Queue[tuple[Launch, Outputs] | None] = queue.Queue(_POSTPROCESS_QUEUE)
        self._feeding = threading.Lock()
        self._closed = False
        self._preparers = [_start(self._prepare_all, f"prepare-{n}") for n in range(prepare_threads)]
        self._runner = _start(self._run_all, "device")
        self._postprocessor = _start(self._postprocess_all, "postprocess")

    def run(self, images: Sequence[ImageRef]) -> list[ImageResult]:
        """Results in the order of the images; raises what a stage raised, once for the whole call."""
        if not images:
            return []
        call = Call(images)
        try:
            # Calls are fed one after another: the first is not slowed down by the second.
            with self._feeding:
                self._feed(call)
            call.finished.wait()
        except BaseException as error:
            call.fail(error)
            raise
        if call.error is not None:
            raise call.error
        return [result for result in call.results if result is not None]

    def close(self) -> None:
        """Finish what is under way, then end the threads; safe to call again."""
        with self._feeding:
            if self._closed:
                return
            self._closed = True
        for _ in self._preparers:
            self._to_prepare.put(None)
        for thread in self._preparers:
            thread.join()
        self._to_run.put(None)
        self._runner.join()
        self._to_postprocess.put(None)
        self._postprocessor.join()

    def _feed(self, call: Call) -> None:
        if self._closed:
            raise DeviceError("the detector is closed")
        for number, first in enumerate(range(0, len(call.images), self._batch)):
            buffer = self._free.get()
            if call.error is not None:
                self._free.put(buffer)
                return
            images = call.images[first : first + self._batch]
            for position in range(len(images), self._batch):
                buffer.clear(position)
            launch = Launch(call=call, number=number, first=first, images=images, buffer=buffer)
            for position in range(len(images)):
                self._to_prepare.put((launch, position))

    def _prepare_all(self) -> None:
        while (work := self._to_prepare.get()) is not None:
            launch, position = work
            if launch.call.error is None:
                try:
                    self._prepare(launch, position)
                except BaseException as error:  # noqa: BLE001 - raised to the caller of run
                    launch.buffer.clear(position)
                    launch.call.fail(error)
            if launch.prepared_one():
                self._to_run.put(launch)

    def _prepare(self, launch: Launch, position: int) -> None:
        buffer = launch.buffer
        launch.started_s[position] = time.monotonic()
        prepared = self._stages.prepare(
            launch.images[position], buffer.batch[position], buffer.holds[position]
        )
        if isinstance(prepared, ImageFailure):
            buffer.clear(position)
            launch.finish(position, prepared, StageTimes(), None)
        else:
            buffer.holds[position] = prepared.letterbox
            launch.prepared[position] = prepared

    def _run_all(self) -> None:
        while (launch := self._to_run.get()) is not None:
            outputs: Outputs | None = None
            if launch.call.error is None and any(launch.prepared):
                try:
                    outputs = self._infer(launch)
                except BaseException as error:  # noqa: BLE001 - raised to the caller of run
                    launch.call.fail(error)
            self._free.put(launch.buffer)
            if outputs is not None:
                self._to_postprocess.put((launch, outputs))

    def _infer(self, launch: Launch) -> Outputs:
        started = time.perf_counter()
        outputs = self._stages.infer(launch.buffer.batch)
        launch.inference_ms = (time.perf_counter() - started) * 1e3
        return outputs

    def _postprocess_all(self) -> None:
        while (work := self._to_postprocess.get()) is not None:
            launch, outputs = work
            try:
                self._postprocess(launch, outputs)
            except BaseException as error:  # noqa: BLE001 - raised to the caller of run
                launch.call.fail(error)

    def _postprocess(self, launch: Launch, outputs: Outputs) -> None:
        share_ms = launch.inference_ms / sum(prepared is not None for prepared in launch.prepared)
        for position, prepared in enumerate(launch.prepared):
            if prepared is None:
                continue
            started = time.perf_counter()
            detections = self._stages.postprocess(outputs, position, prepared.letterbox)
            times = StageTimes(
                read_ms=prepared.read_ms,
                preprocess_ms=prepared.preprocess_ms,
                inference_ms=share_ms,
                postprocess_ms=(time.perf_counter() - started) * 1e3,
            )
            launch.finish(position, detections, times, prepared.letterbox.source_hw)


def _start(target: Callable[[], None], name: str) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread
