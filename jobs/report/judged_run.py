"""A run as the report sees it: its name, its images, its detections held against its truth, what there is to show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bmodel.errors import RaysailError
from data.columns import GroundTruth
from data.formats import FormatError
from jobs.measure.one_pass import RunRows, read_rows, read_truth
from jobs.report.gallery import Gallery, judged_gallery, plain_gallery
from jobs.report.judge import Judged, judge
from jobs.run.folder import RunFolder
from jobs.run.image_columns import ImageColumns, RunImages, read_images

MADE_UP = "The timed device's detections are made up, so there is nothing to judge."
NO_TRUTH = "The run was started without ground truth, so nobody knows how many of its boxes are right."


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedRun:
    """What the report and the annotated images draw from a run's rows.

    judged: the detections held against the truth; None where that cannot be, and no_truth says why.
    gallery: the images to choose from; None on the timed device, whose detections are made up.
    """

    images: ImageColumns
    judged: Judged | None
    no_truth: str
    gallery: Gallery | None


def run_name(run: RunFolder) -> str:
    """The last part of where the run lies."""
    return run.store.place.rstrip("/").rsplit("/", 1)[-1]


def judge_run(run: RunFolder, rows: RunRows, no_truth: str = NO_TRUTH) -> JudgedRun:
    """Judge what a pass over the run has read; no_truth: why that is without truth, where it is."""
    names = run.record.spec.class_names
    if run.record.device == "timed":
        return JudgedRun(images=rows.images.columns, judged=None, no_truth=MADE_UP, gallery=None)
    if rows.truth is None:
        gallery = plain_gallery(rows.images.image_ids(), rows.scored, names)
        return JudgedRun(images=rows.images.columns, judged=None, no_truth=no_truth, gallery=gallery)
    judged = judge(rows.truth, rows.scored, rows.matches)
    return JudgedRun(
        images=rows.images.columns, judged=judged, no_truth="", gallery=judged_gallery(judged, names)
    )


def read_judged_run(run: RunFolder) -> JudgedRun:
    """Read a run's parts and the truth that it was started with, each once; raises RunError for damaged parts."""
    images = read_images(run.log.tables("images"))
    truth, reason = _truth_or_reason(run, images)
    rows = read_rows(run.log, images, truth, made_up=run.record.device == "timed")
    return judge_run(run, rows, reason)


def _truth_or_reason(run: RunFolder, images: RunImages) -> tuple[GroundTruth | None, str]:
    """The run's truth, or a sentence why there is none: a page without curves is better than no page."""
    place = run.record.ground_truth
    if run.record.device == "timed" or place is None:
        return None, NO_TRUTH
    try:
        return read_truth(Path(place), images, run.record.spec), ""
    except (FormatError, RaysailError, OSError) as error:
        return None, f"The ground truth cannot be read, so there are no curves and no judged images: {error}."
