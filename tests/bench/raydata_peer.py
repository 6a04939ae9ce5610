"""Peers (b) and (b2): Ray Data, as its documentation does image inference, and with the project's own stages inside.

Letterbox, network and decoding are the project's own in both, so that the difference is what carries the images.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec
from cluster.pool.results import shard_result
from tpu_worker.detector import DetectOptions, Detector, _Stages
from tpu_worker.devices import DeviceOptions, open_device
from tpu_worker.letterbox import InputWriter, Letterbox
from tpu_worker.values import ImageRef

BATCH = 32
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What travels to Ray Data's workers. actors: one a core, with one thread of ONNX Runtime each."""

    network: Path
    spec: ModelSpec
    confidence: float
    actors: int

    @property
    def device(self) -> DeviceOptions:
        return DeviceOptions(name="cpu", spec=self.spec, model_path=self.network, threads=1)


# (b): read_images, a preprocessing map, map_batches with an actor pool, a decoding map.


class Preprocess:
    """Letterbox one row's RGB pixels into the network's input."""

    def __init__(self, setting: Setting) -> None:
        self._spec = setting.spec

    def __call__(self, row: Row) -> Row:
        cv2.setNumThreads(1)
        bgr = np.ascontiguousarray(row["image"][:, :, ::-1])
        height, width = bgr.shape[:2]
        target = np.zeros((3, *self._spec.input_hw), np.float32)
        fit = Letterbox.fit((height, width), self._spec.input_hw)
        InputWriter(self._spec.normalisation, self._spec.input_hw).write(bgr, fit, target, None)
        return {"path": row["path"], "input": target, "height": height, "width": width}


class Predict:
    """The network in an actor of the pool."""

    def __init__(self, setting: Setting) -> None:
        self._device = open_device(setting.device)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        answers = [self._device.run(one[None]) for one in batch["input"]]
        heads = {f"head{n}": np.concatenate(parts) for n, parts in enumerate(zip(*answers, strict=True))}
        return {**{name: batch[name] for name in ("path", "height", "width")}, **heads}


class Decode:
    """One row's heads to boxes."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._stages: _Stages | None = None

    def __call__(self, row: Row) -> Row:
        setting = self._setting
        if self._stages is None:
            self._stages = _Stages(_NoDevice(setting.spec), DetectOptions(conf=setting.confidence), None)
        heads = [row[f"head{n}"][None] for n in range(len(setting.spec.outputs))]
        fit = Letterbox.fit((int(row["height"]), int(row["width"])), setting.spec.input_hw)
        found = self._stages.postprocess(heads, 0, fit)
        return {
            "path": row["path"],
            "boxes": found.xyxy.ravel().tolist(),
            "confidence": found.confidence.tolist(),
            "class_id": found.class_id.tolist(),
        }


class _NoDevice:
    """Stands where decoding alone needs to know the network."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        raise NotImplementedError

    def close(self) -> None:
        pass


def be_quiet() -> None:
    """Keep Ray Data's progress out of the output."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def as_documented(folder: Path, output: Path, setting: Setting) -> None:
    """Run (b) over a folder of images, to Parquet files."""
    import ray

    (
        ray.data.read_images(str(folder), include_paths=True, mode="RGB")
        .map(Preprocess(setting).__call__)
        .map_batches(
            Predict,
            fn_constructor_args=(setting,),
            batch_size=BATCH,
            compute=ray.data.ActorPoolStrategy(size=setting.actors),
            num_cpus=0.5,
        )
        .map(Decode(setting).__call__)
        .write_parquet(str(output))
    )


# (b2): every stage of the project inside one map_batches call.


class WholeDetector:
    """The project's detector, with its own threads, in an actor of the pool."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._detector = Detector(open_device(setting.device), DetectOptions(conf=setting.confidence))

    def __call__(self, batch: pa.Table) -> pa.Table:
        paths = batch.column("path").to_pylist()
        refs = [ImageRef(index=n, image_id=path, path=path) for n, path in enumerate(paths)]
        result = shard_result(
            self._detector.detect(refs),
            class_names=self._setting.spec.class_names,
            batch_size=1,
            run_began_s=0.0,
            card="host/0",
            attempt=1,
        )
        return _plain(result.detections)


def _plain(table: pa.Table) -> pa.Table:
    """Dictionaries written out: blocks of different dictionaries do not fit together."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
    return table


def in_one_call(paths: Sequence[Path], output: Path, setting: Setting) -> None:
    """Run (b2) over paths, to Parquet files."""
    import ray

    (
        ray.data.from_arrow(pa.table({"path": [str(path) for path in paths]}))
        .repartition(max(1, len(paths) // 64))
        .map_batches(
            WholeDetector,
            fn_constructor_args=(setting,),
            batch_size=64,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=setting.actors),
            num_cpus=0.5,
        )
        .write_parquet(str(output))
    )
