"""A run as the report sees it: its figures, its name, its detections held against its truth, its images to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bmodel.errors import RaysailError
from bmodel.sidecar import ModelSpec
from data.formats import FormatError
from jobs.measure.measure_run import truth_of_run
from jobs.measure.metrics import Metrics
from jobs.report.gallery import Gallery, judged_gallery, plain_gallery
from jobs.report.judge import Judged, judge
from jobs.run.folder import RunFolder
from jobs.run.rows import scored_detections


def run_name(run: RunFolder) -> str:
    """The last part of where the run lies."""
    return run.store.place.rstrip("/").rsplit("/", 1)[-1]


def judged_run(run: RunFolder, metrics: Metrics, spec: ModelSpec) -> tuple[Judged | None, str]:
    """The run held against its truth, or a sentence why it cannot be."""
    told = run.record.ground_truth
    if metrics.device == "timed":
        return None, "The timed device's detections are made up, so there is nothing to judge."
    if told is None:
        return (
            None,
            "The run was started without ground truth, so nobody knows how many of its boxes are right.",
        )
    try:
        truth = truth_of_run(run.log, spec=spec, ground_truth=Path(told))
    except (FormatError, RaysailError, OSError) as error:
        return None, f"The ground truth cannot be read, so there are no curves and no judged images: {error}."
    positions = {image_id: position for position, image_id in enumerate(truth.image_ids)}
    return judge(truth, scored_detections(run.log, positions)), ""


def gallery_of_run(
    run: RunFolder, metrics: Metrics, judged: Judged | None, names: Sequence[str]
) -> Gallery | None:
    """The images to choose from; none on the timed device, whose detections are made up."""
    if metrics.device == "timed":
        return None
    if judged is not None:
        return judged_gallery(judged, names)
    image_ids = [
        image_id for table in run.log.tables("images") for image_id in table.column("image_id").to_pylist()
    ]
    positions = {image_id: position for position, image_id in enumerate(image_ids)}
    return plain_gallery(image_ids, scored_detections(run.log, positions), names)
