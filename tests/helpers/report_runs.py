"""Whole runs made up for tests of the report: images on disk, truth, committed rows and metrics.json.

The rows are written by the project's own code; only what a detector and its cards would have said is thrown with dice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec, PredictedLatency, read_sidecar, sidecar_path
from cluster.pool.results import ShardResult, lost_image_result, shard_result
from cluster.pool.work import Shard
from data.formats import write_coco
from jobs.inputs.ran_model import model_metrics
from jobs.measure.metrics import CardMetrics, TimeSpent, measure
from jobs.measure.one_pass import read_rows, read_truth
from jobs.run.folder import RunFolder, begin_run, finish_run
from jobs.run.image_columns import read_images
from jobs.run.record import RunRecord
from jobs.run.store import LocalStore
from tests.helpers.run_rows import record_of
from tests.helpers.small_specs import head_spec
from tpu_worker.boxes import Detections
from tpu_worker.values import ImageFailure, ImageRef, ImageResult, StageTimes

NAMES = ("car", "person", "bike")
SIZE_HW = (240, 320)
STARTED_S = 1_700_000_000.0
SHARD = 8
Boxes = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeUp:
    """What a made-up run is like.

    missing_every: every n-th object is not found. false_every: every n-th image has a false detection.
    failed: images that cannot be decoded. lost: images that no card could carry through. pause_s: between the first
    half and the second, as when a run is resumed. compiled: a BModel whose schedule the
    run speaks of. on_card: images that the card prepared, in a run where it was to prepare all that it takes.
    prefix: of the images' names, to try what a page does with them.
    """

    images: int = 24
    cards: int = 2
    objects: int = 4
    missing_every: int = 5
    false_every: int = 3
    failed: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    crowds: bool = False
    truth: bool = True
    device: str = "cpu"
    predicted_ms: float | None = None
    compiled: Path | None = None
    pause_s: float = 0.0
    on_card: tuple[int, ...] = ()
    prefix: str = "street/"
    conf: float = 0.001
    seed: int = 0


def make_run(folder: Path, like: MadeUp | None = None) -> RunFolder:
    """A finished run in `folder`/run, its images and truth beside it."""
    like = like or MadeUp()
    dice = np.random.default_rng(like.seed)
    spec = _spec(like)
    objects = [_objects(dice, like.objects) for _ in range(like.images)]
    classes = [dice.integers(0, len(NAMES), len(boxes)).astype(np.int32) for boxes in objects]
    ids = [f"{like.prefix}{number:03d}.jpg" for number in range(like.images)]
    _write_images(folder / "images", ids, objects, classes, dice)
    truth = _write_truth(folder / "truth.json", ids, objects, classes, like) if like.truth else None
    run = begin_run(LocalStore(folder / "run"), resume=False, record=_record(folder, like, spec, truth))
    for start in range(0, like.images, SHARD):
        stop = min(start + SHARD, like.images)
        results = [
            _result(number, ids[number], objects[number], classes[number], like, dice)
            for number in range(start, stop)
        ]
        card = f"host/{(start // SHARD) % like.cards}"
        run.log.add(Shard(start, stop), _tables(results, card, like, run), 1)
    _write_metrics(run, spec, like, truth)
    finish_run(run)
    return run


def _spec(like: MadeUp) -> ModelSpec:
    spec = head_spec().model_copy(update={"class_names": NAMES})
    if like.compiled is not None:
        return spec.model_copy(update={"latency": read_sidecar(sidecar_path(like.compiled)).latency})
    if like.predicted_ms is None:
        return spec
    latency = PredictedLatency(
        raw_ms=like.predicted_ms * 0.885,
        corrected_ms=like.predicted_ms,
        uncertainty_ms=like.predicted_ms / 20,
        note="as tested",
    )
    return spec.model_copy(update={"latency": latency})


def _objects(dice: np.random.Generator, count: int) -> Boxes:
    sides = np.exp(dice.uniform(np.log(8), np.log(120), (count, 2)))
    corner = dice.uniform(0, 1, (count, 2)) * (np.array(SIZE_HW[::-1]) - sides)
    return np.concatenate([corner, corner + sides], axis=1)


def _write_images(
    folder: Path,
    ids: list[str],
    objects: list[Boxes],
    classes: list[NDArray[np.int32]],
    dice: np.random.Generator,
) -> None:
    for image_id, boxes, class_ids in zip(ids, objects, classes, strict=True):
        picture = dice.integers(90, 130, (*SIZE_HW, 3), dtype=np.uint8)
        for box, class_id in zip(np.rint(boxes).astype(int).tolist(), class_ids.tolist(), strict=True):
            colour = [40, 40, 40]
            colour[class_id] = 220
            cv2.rectangle(picture, (box[0], box[1]), (box[2], box[3]), colour, cv2.FILLED)
        path = folder / image_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())


def _write_truth(
    path: Path, ids: list[str], objects: list[Boxes], classes: list[NDArray[np.int32]], like: MadeUp
) -> Path:
    crowd = np.zeros(sum(len(boxes) for boxes in objects), np.bool_)
    if like.crowds:
        crowd[:: like.objects] = True
    xyxy = np.concatenate(objects)
    write_coco(
        path,
        image_ids=ids,
        size_hw=[SIZE_HW] * len(ids),
        class_names=NAMES,
        box_image=np.repeat(np.arange(len(ids)), [len(boxes) for boxes in objects]),
        class_id=np.concatenate(classes),
        xyxy=xyxy,
        crowd=crowd,
        area=(xyxy[:, 2:] - xyxy[:, :2]).prod(axis=1),
    )
    return path


def _result(
    number: int,
    image_id: str,
    boxes: Boxes,
    class_ids: NDArray[np.int32],
    like: MadeUp,
    dice: np.random.Generator,
) -> ImageResult:
    times = StageTimes(
        read_ms=2 + number % 3, preprocess_ms=1.0, inference_ms=20 + number % 7, postprocess_ms=0.5
    )
    half = number >= like.images // 2
    started = STARTED_S + 3 + 0.03 * number / like.cards + (like.pause_s if half else 0.0)
    failed = number in like.failed
    return ImageResult(
        image=ImageRef(index=number, image_id=image_id, path=f"/nowhere/{image_id}"),
        size_hw=None if failed else SIZE_HW,
        detections=None if failed else _detections(number, boxes, class_ids, like, dice),
        failure=ImageFailure(stage="read", reason=f"the JPEG file <{number}> is damaged") if failed else None,
        times=times,
        started_s=started,
        finished_s=started + 0.04,
        prepared_on="card" if number in like.on_card else "host",
    )


def _detections(
    number: int, boxes: Boxes, class_ids: NDArray[np.int32], like: MadeUp, dice: np.random.Generator
) -> Detections:
    position = np.arange(len(boxes)) + number * like.objects
    kept = position % like.missing_every != 0
    xyxy = boxes[kept] + dice.normal(0, 0.3, (int(kept.sum()), 4))
    confidence = dice.uniform(0.5, 0.95, len(xyxy))
    classes = class_ids[kept]
    if number % like.false_every == 0:
        xyxy = np.concatenate([xyxy, [[1, 1, 7, 7]]])
        confidence = np.append(confidence, 0.97)
        classes = np.append(classes, np.int32(1))
    order = np.argsort(-confidence)
    return Detections(
        xyxy=xyxy[order].astype(np.float32),
        confidence=confidence[order].astype(np.float32),
        class_id=classes[order].astype(np.int32),
    )


def _tables(results: list[ImageResult], card: str, like: MadeUp, run: RunFolder) -> ShardResult:
    made = shard_result(results, class_names=NAMES, batch_size=1, run_began_s=STARTED_S, card=card, attempt=1)
    for place, result in enumerate(results):
        if result.image.index in like.lost:
            made = _with_lost(made, place, result.image)
    return made


def _with_lost(made: ShardResult, place: int, image: ImageRef) -> ShardResult:
    import pyarrow as pa
    import pyarrow.compute as pc

    lost = lost_image_result(image, reason="its card died three times", stage="inference", attempt=3)
    images = pa.concat_tables([made.images.slice(0, place), lost.images, made.images.slice(place + 1)])
    detections = made.detections.filter(pc.not_equal(made.detections.column("index"), image.index))
    return replace(made, images=images.combine_chunks(), detections=detections.combine_chunks())


def _record(folder: Path, like: MadeUp, spec: ModelSpec, truth: Path | None) -> RunRecord:
    configuration = {
        "images": str(folder / "images"),
        "model": str(like.compiled or "small.onnx"),
        "conf": like.conf,
    }
    if truth is not None:
        configuration["ground-truth"] = str(truth)
    return record_of(
        like.images,
        spec=spec,
        device=like.device,
        started_s=STARTED_S,
        configuration=configuration,
        conf=like.conf,
        images=f"{like.images} images, list 0",
    )


def _write_metrics(run: RunFolder, spec: ModelSpec, like: MadeUp, truth: Path | None) -> None:
    accounts = {
        f"host/{card}": CardMetrics(card=f"host/{card}", images=0, failures=card)
        for card in range(like.cards)
    }
    images = read_images(run.log.tables("images"))
    is_scored = truth is not None and like.device != "timed"
    rows = read_rows(run.log, images, read_truth(truth, images, spec) if truth and is_scored else None)
    metrics = measure(
        rows,
        mean_ap=rows.mean_ap(),
        spec=spec,
        device=like.device,
        times_of=like.device,
        model=model_metrics(spec, name="small.onnx", sha256="0" * 64),
        score_protocol="voc",
        time=TimeSpent(detect_s=4.2, write_s=0.3),
        accounts=accounts,
        prepared_by_card=bool(like.on_card),
    )
    run.store.write("metrics.json", metrics.model_dump_json().encode())
