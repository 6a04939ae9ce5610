"""Scoring 5,000 images with 400,000 detections: all three protocols at once, and the command people type."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec
from cluster.pool.results import shard_result
from cluster.pool.work import Shard
from data.ground_truth import GroundTruth, Scored, read_ground_truth
from jobs.config.detect_config import parse_config
from jobs.derive import derive
from jobs.inputs.images import list_images
from jobs.inputs.resolve import load_model, resolve_job
from jobs.measure.coco import coco_ap
from jobs.measure.mean_ap import evaluate
from jobs.measure.one_pass import read_rows
from jobs.run.folder import RunFolder, begin_run
from jobs.run.image_columns import read_images
from jobs.run.record import new_record
from jobs.run.store import open_store
from tests.bench.findings import Findings
from tests.bench.material import BUILD, Material
from tests.bench.measure import ratio_figure, scaled, side_by_side, wall_s
from tests.bench.part_start import _raysail
from tests.bench.record import Figure, Goal
from tests.helpers.paths import ROOT
from tpu_worker.boxes import Detections
from tpu_worker.values import ImageRef, ImageResult, StageTimes

ROUNDS = 5
IMAGES = 5_000
EACH = 80  # detections an image
OBJECTS = 36_000  # about as many as on COCO's 5,000 validation images
SIZE_HW = (480, 640)
GOAL_S = 5.0
FEW = 500  # images for the slow evaluator
SHARD = 250


def measure(material: Material) -> Findings:
    folder = BUILD / "scoring"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spec = material.spec
    truth_path = _write_truth(folder, spec)
    run = _write_run(folder, material, truth_path)
    truth = _truth(truth_path, spec)
    detections = read_rows(run.log, read_images(run.log.tables("images")), truth).scored
    if len(detections) != IMAGES * EACH:
        raise RuntimeError(f"{IMAGES * EACH} detections should be scored, got {len(detections)}")
    evaluate(truth, detections)
    alone = tuple(wall_s(lambda: evaluate(truth, detections)) for _ in range(ROUNDS))
    command = [*_raysail(), "evaluate", run.store.place]
    whole = tuple(wall_s(lambda: _run(command)) for _ in range(ROUNDS + 1))[1:]
    text = f"{IMAGES:,} images, {len(detections):,} detections"
    return Findings(
        title="Scoring",
        figures=(
            Figure(
                line="9",
                text=f"{text}: COCO's, the YOLO authors' and the VOC tool's mAP",
                unit="s",
                values=alone,
                goal=Goal(at_most=GOAL_S),
            ),
            Figure(
                line="9",
                text=f"{text}: `raysail evaluate RUN` from the command to its end",
                unit="s",
                values=whole,
                goal=Goal(at_most=GOAL_S),
            ),
            _against_the_reference(truth, detections),
        ),
    )


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)


def _name(number: int) -> str:
    return f"{number:05d}.jpg"


def _boxes(dice: np.random.Generator, count: int) -> NDArray[np.float64]:
    height, width = SIZE_HW
    corner = dice.uniform(0, (width - 60, height - 60), (count, 2))
    return np.concatenate(
        [corner, corner + dice.uniform(6, 60, (count, 2)) * dice.uniform(0.3, 1, (count, 1))], 1
    )


def _write_truth(folder: Path, spec: ModelSpec) -> Path:
    dice = np.random.default_rng(0)
    boxes = _boxes(dice, OBJECTS)
    images = dice.integers(0, IMAGES, OBJECTS)
    classes = dice.zipf(1.5, OBJECTS) % len(spec.class_names)
    annotations = [
        {
            "id": number + 1,
            "image_id": int(images[number]) + 1,
            "category_id": int(classes[number]) + 1,
            "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            "area": float((x2 - x1) * (y2 - y1)),
            "iscrowd": 0,
        }
        for number, (x1, y1, x2, y2) in enumerate(boxes)
    ]
    height, width = SIZE_HW
    path = folder / "instances.json"
    path.write_text(
        json.dumps(
            {
                "images": [
                    {"id": number + 1, "file_name": _name(number), "height": height, "width": width}
                    for number in range(IMAGES)
                ],
                "annotations": annotations,
                "categories": [{"id": n + 1, "name": name} for n, name in enumerate(spec.class_names)],
            }
        ),
        encoding="utf-8",
    )
    return path


def _truth(path: Path, spec: ModelSpec) -> GroundTruth:
    sizes = {_name(number): SIZE_HW for number in range(IMAGES)}
    return read_ground_truth(path, images=sizes, class_names=spec.class_names)


def _write_run(folder: Path, material: Material, truth_path: Path) -> RunFolder:
    """A finished run whose detections are the truth's boxes, shaken, and others that match nothing."""
    listed = folder / "images.txt"
    listed.write_text("".join(f"/nowhere/{_name(number)}\n" for number in range(IMAGES)), encoding="utf-8")
    config = parse_config(
        {
            "images": str(listed),
            "model": material.network,
            "ground-truth": str(truth_path),
            "device": "cpu",
            "output": str(folder / "run"),
            "label-format": "none",
            **({"anchors": material.anchors} if material.anchors else {}),
        }
    )
    spec = load_model(config)
    job = resolve_job(config, spec, cards_of_cluster=None)
    images = list_images(config.images)
    run = begin_run(
        open_store(str(folder / "run")),
        resume=False,
        record=new_record(config, images, device=job.device.name, ran=job.ran, spec=job.spec),
    )
    truth = _truth(truth_path, spec)
    dice = np.random.default_rng(1)
    for start in range(0, IMAGES, SHARD):
        results = [_found(image, truth, spec, dice) for image in images.refs(start, start + SHARD)]
        tables = shard_result(
            results, class_names=spec.class_names, batch_size=1, run_began_s=0.0, card="host/0", attempt=1
        )
        run.log.add(Shard(start, start + SHARD), tables, 1)
    derive(config, job, run, [], detect_s=1.0)
    return run


def _found(image: ImageRef, truth: GroundTruth, spec: ModelSpec, dice: np.random.Generator) -> ImageResult:
    (own,) = (truth.box_image == image.index).nonzero()
    own = own[:EACH]
    strange = EACH - len(own)
    shaken = truth.xyxy[own] + dice.normal(0, 3, (len(own), 4))
    boxes = np.concatenate([np.sort(shaken.reshape(-1, 2, 2), axis=1).reshape(-1, 4), _boxes(dice, strange)])
    classes = np.concatenate([truth.class_id[own], dice.integers(0, len(spec.class_names), strange)])
    confidence = np.concatenate([dice.beta(5, 2, len(own)), dice.beta(1, 6, strange)])
    order = np.argsort(-confidence)
    return ImageResult(
        image=image,
        size_hw=SIZE_HW,
        detections=Detections(
            xyxy=boxes[order].astype(np.float32),
            confidence=confidence[order].astype(np.float32),
            class_id=classes[order].astype(np.int32),
        ),
        failure=None,
        times=StageTimes(),
        started_s=image.index * 0.01,
        finished_s=image.index * 0.01 + 0.02,
    )


def _against_the_reference(truth: GroundTruth, detections: Scored) -> Figure:
    """The evaluator in use beside the reference evaluator, on as few images as that one needs seconds for."""
    few, found = _first(truth, detections, FEW)
    names = list(few.class_names or ())
    samples = side_by_side(
        {
            "pycocotools": lambda: coco_ap(few, found, names, "pycocotools"),
            "hotcoco": lambda: coco_ap(few, found, names, "hotcoco"),
        },
        rounds=5,
    )
    return ratio_figure(
        "9",
        f"COCO's figures of {FEW} images: pycocotools' time over that of the evaluator in use",
        scaled(samples, 1.0),
        over="pycocotools",
        under="hotcoco",
        samples_unit="s",
        note="the same figures; tests compare them",
    )


def _first(truth: GroundTruth, detections: Scored, count: int) -> tuple[GroundTruth, Scored]:
    kept, found = truth.box_image < count, detections.image < count
    few = replace(
        truth,
        image_ids=truth.image_ids[:count],
        **{name: getattr(truth, name)[kept] for name in ("box_image", "class_id", "xyxy", "crowd", "area")},
    )
    return few, Scored(
        **{name: getattr(detections, name)[found] for name in ("image", "class_id", "confidence", "xyxy")}
    )
