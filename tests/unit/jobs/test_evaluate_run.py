"""`raysail evaluate RUN`: a finished run once more."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from bmodel.errors import ConfigurationError, RunError
from cluster.pool.results import shard_result
from cluster.pool.work import Shard
from data.ground_truth import GroundTruth, Scored
from jobs.commands.evaluate import command as evaluate_command
from jobs.commands.report import command as report_command
from jobs.derive import evaluate_run
from jobs.inputs.ran_model import model_metrics
from jobs.measure.mean_ap import evaluate
from jobs.measure.metrics import Metrics, TimeSpent, measure, read_metrics
from jobs.measure.one_pass import read_rows
from jobs.run.folder import begin_run, finish_run, open_run
from jobs.run.image_columns import read_images
from jobs.run.store import LocalStore
from tests.helpers.evaluation_files import NAMES, SIZE_HW, coco_json, figures, known_set
from tests.helpers.run_rows import record_of
from tests.helpers.small_specs import head_spec
from tpu_worker.boxes import Detections
from tpu_worker.values import ImageFailure, ImageRef, ImageResult, StageTimes


@pytest.fixture
def known() -> tuple[GroundTruth, Scored]:
    """Truth of 8 images, and detections better than chance."""
    return known_set()


def finished_run(
    truth: GroundTruth, found: Scored, place: Path, *, device: str = "cpu", ok: bool = True
) -> Path:
    """A run of the truth's images in two shards, as the job leaves it; the last image failed."""
    spec = head_spec(classes=3)
    store = LocalStore(place)
    record = record_of(
        len(truth.image_ids),
        spec=spec,
        device=device,
        started_s=0.0,
        configuration={"evaluator": "hotcoco", "images": str(place / "moved-away")},
        class_names=NAMES,
    )
    run = begin_run(store, resume=False, record=record)
    results = [_image_result(image, image_id, found) for image, image_id in enumerate(truth.image_ids[:-1])]
    failed = ImageRef(index=len(results), image_id=truth.image_ids[-1], path="p")
    results.append(
        ImageResult(
            image=failed,
            size_hw=None,
            detections=None,
            failure=ImageFailure(stage="read", reason="cut short"),
            times=StageTimes(),
            started_s=1.0,
            finished_s=1.1,
        )
    )
    for start, stop in ((0, 5), (5, len(results))):
        table = shard_result(
            results[start:stop], class_names=NAMES, batch_size=1, run_began_s=0.0, card="host/0", attempt=1
        )
        run.log.add(Shard(start, stop), table, 1)
    metrics = measure(
        read_rows(run.log, read_images(run.log.tables("images")), None),
        mean_ap=None,
        spec=spec,
        device=device,
        times_of=device,
        model=model_metrics(spec, name="x.onnx", sha256="0" * 64),
        score_protocol="voc",
        time=TimeSpent(detect_s=1.0, write_s=0.1),
        accounts={},
    )
    store.write("metrics.json", metrics.model_dump_json().encode())
    if ok:
        finish_run(run)
    return place


def _image_result(image: int, image_id: str, found: Scored) -> ImageResult:
    rows = np.flatnonzero(found.image == image)
    return ImageResult(
        image=ImageRef(index=image, image_id=image_id, path=image_id),
        size_hw=SIZE_HW,
        detections=Detections(
            xyxy=found.xyxy[rows], confidence=found.confidence[rows], class_id=found.class_id[rows]
        ),
        failure=None,
        times=StageTimes(inference_ms=20.0),
        started_s=time.time(),
        finished_s=time.time() + 0.1,
    )


def test_the_report_follows_the_metrics(known: tuple[GroundTruth, Scored], tmp_path: Path) -> None:
    truth, found = known
    place = finished_run(truth, found, tmp_path / "run")
    (place / "report.html").write_text("stale", encoding="utf-8")
    evaluate_command(str(place), ground_truth=coco_json(truth, tmp_path))
    page = (place / "report.html").read_text(encoding="utf-8")
    metrics = read_metrics(open_run(str(place)))
    assert metrics.map is not None
    assert f"{metrics.map.voc.ap50:.3f}" in page
    assert "F1 over confidence" in page, "judged by the truth that the figures are of"
    report_command([str(place)])
    again = (place / "report.html").read_text(encoding="utf-8")
    assert f"{metrics.map.voc.ap50:.3f}" in again
    assert "F1 over confidence" not in again, "the run itself has no truth"


def test_a_run_is_scored_again_and_its_metrics_follow(
    known: tuple[GroundTruth, Scored], tmp_path: Path
) -> None:
    truth, found = known
    place = finished_run(truth, found, tmp_path / "run", device="sail")
    result = evaluate_run(str(place), ground_truth=coco_json(truth, tmp_path), score_protocol="coco")
    seen = np.flatnonzero(found.image != len(truth.image_ids) - 1)
    expected = evaluate(
        truth,
        Scored(
            image=found.image[seen],
            class_id=found.class_id[seen],
            confidence=found.confidence[seen],
            xyxy=found.xyxy[seen],
        ),
    )
    assert result.map.voc == expected.voc
    assert result.map.yolo.ap == pytest.approx(expected.yolo.ap, abs=1e-9)
    assert result.map.coco.ap == pytest.approx(expected.coco.ap, abs=1e-9)
    assert result.objects == len(truth.xyxy), "objects on the failed image count as missed"
    assert result.i_time_ms is not None
    assert result.map.coco.ap50
    assert result.score == pytest.approx(result.map.coco.ap50 * 100 + (1000 - result.i_time_ms) * 0.1)
    metrics = Metrics.model_validate_json((place / "metrics.json").read_bytes())
    assert (metrics.map, metrics.score, metrics.score_protocol) == (result.map, result.score, "coco")
    again = evaluate_run(str(place), ground_truth=tmp_path / "instances.json", evaluator="pycocotools")
    assert figures(again) == pytest.approx(figures(result), abs=1e-9)
    assert again.score_protocol == "coco"


def test_a_run_that_cannot_be_scored_is_told_why(known: tuple[GroundTruth, Scored], tmp_path: Path) -> None:
    truth, found = known
    path = coco_json(truth, tmp_path)
    timed = finished_run(truth, found, tmp_path / "timed", device="timed")
    with pytest.raises(ConfigurationError, match="the timed device's detections are made up"):
        evaluate_run(str(timed), ground_truth=path)
    unfinished = finished_run(truth, found, tmp_path / "unfinished", ok=False)
    with pytest.raises(ConfigurationError, match="must be finished"):
        evaluate_run(str(unfinished), ground_truth=path)
    whole = finished_run(truth, found, tmp_path / "whole")
    with pytest.raises(
        ConfigurationError, match="--ground-truth: is required, since the run was started without one"
    ):
        evaluate_run(str(whole))
    (whole / "metrics.json").write_text("{}")
    with pytest.raises(RunError, match=r"^device: Field required in '.*metrics.json'"):
        evaluate_run(str(whole), ground_truth=path)
    (whole / "metrics.json").unlink()
    with pytest.raises(RunError, match=r"metrics.json' is missing"):
        evaluate_run(str(whole), ground_truth=path)
