"""A run's files → all that its page says, as values; the template adds no figure of its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

import jinja2
from markupsafe import Markup

from jobs.measure.metrics import CardMetrics, Metrics, read_metrics
from jobs.report.accuracy import AccuracySection, accuracy_section
from jobs.report.charts import Chart
from jobs.report.format import count, decimal, fraction, plural
from jobs.report.gallery import Gallery
from jobs.report.health_section import card_notes, health_charts
from jobs.report.judge import Judged
from jobs.report.judged_run import JudgedRun, read_judged_run, run_name
from jobs.report.latency_section import LatencySection, SchedulePicture, latency_section, schedule_picture
from jobs.report.pictures import Picture, pictures
from jobs.report.summary_section import (
    KeyFigure,
    Settings,
    host_note,
    key_figures,
    no_health,
    prepared_note,
    settings,
    standfirst,
)
from jobs.report.timeline import Timeline, draw_throughput, draw_timeline
from jobs.run.folder import RunFolder
from jobs.run.image_columns import FailedImage, ImageColumns

SHOWN = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """The report of one run; a section without data is None or empty, and says why where it has a text for that."""

    title: str
    standfirst: str
    figures: tuple[KeyFigure, ...]
    accuracy: AccuracySection | None
    no_accuracy: str
    latency: LatencySection | None
    cpu_note: str
    prepared_note: str
    schedule: SchedulePicture | None
    timeline: Timeline | None
    throughput: Chart | None
    cards: tuple[CardMetrics, ...]
    card_notes: tuple[str, ...]
    health: tuple[Chart, ...]
    no_health: str
    failed: tuple[FailedImage, ...]
    failed_summary: str
    gallery_note: str
    worst: tuple[Picture, ...]
    typical: tuple[Picture, ...]
    typical_title: str
    settings: tuple[Settings, ...]


def page_of_run(run: RunFolder, metrics: Metrics, judged_run: JudgedRun | None = None) -> Page:
    """Gather everything; what cannot be had (the truth or the images have moved) is said, and no error.

    judged_run: the run's rows, where they have been read already. Raises RunError for a damaged part.
    """
    spec = run.record.spec
    judged_run = judged_run or read_judged_run(run)
    images, judged, gallery = judged_run.images, judged_run.judged, judged_run.gallery
    worst, typical, absent = _shown(run, gallery, is_judged=judged is not None)
    timeline = draw_timeline(images)
    return Page(
        title=run_name(run),
        standfirst=standfirst(run, metrics),
        figures=key_figures(metrics),
        accuracy=None
        if metrics.map is None
        else accuracy_section(metrics.map, metrics.score_protocol, judged, spec.class_names),
        no_accuracy=judged_run.no_truth,
        latency=latency_section(metrics.latency, images.went_through()),
        cpu_note=host_note(run.record.timing_device),
        prepared_note=prepared_note(metrics),
        schedule=schedule_picture(run, spec, metrics.latency),
        timeline=timeline,
        throughput=None
        if timeline is None
        else draw_throughput(images, timeline.axis, metrics.throughput.images_per_s),
        cards=metrics.cards,
        card_notes=card_notes(metrics),
        health=health_charts(run),
        no_health=no_health(metrics),
        failed=images.failed,
        failed_summary=_failed_summary(images, metrics),
        gallery_note=absent or _gallery_note(gallery, judged, judged_run.no_truth),
        worst=worst,
        typical=typical,
        typical_title=f"{len(typical)} typical images"
        + ("" if judged is None else ": as many are worse as are better"),
        settings=settings(run, metrics),
    )


def _shown(
    run: RunFolder, gallery: Gallery | None, *, is_judged: bool
) -> tuple[tuple[Picture, ...], tuple[Picture, ...], str]:
    """The worst and the typical images; where not one of them can be read, none, and why."""
    if gallery is None:
        return (), (), ""
    worst = pictures(run, gallery.worst(SHOWN)) if is_judged else ()
    typical = pictures(run, gallery.typical(SHOWN) if is_judged else gallery.spread(SHOWN))
    absent = _all_absent((*worst, *typical))
    return ((), (), absent) if absent else (worst, typical, "")


def _all_absent(shown: Sequence[Picture]) -> str:
    """Why there is nothing to see, when not one image can be read any more."""
    if not shown or not all(picture.missing for picture in shown):
        return ""
    return f"None of the images can be read where the run found them, the first because: {shown[0].missing}."


def _gallery_note(gallery: Gallery | None, judged: Judged | None, no_truth: str) -> str:
    if gallery is None:
        return no_truth
    least = f"Boxes are drawn from confidence {fraction(gallery.confidence, 2)}"
    if judged is None:
        return f"{no_truth} {least}."
    return (
        f"{least}, where mean F1 is highest. A detection is right when it overlaps an object of its class by IoU 0.5 "
        "or more and no surer one does. Truth is on the left (or above), detections are on the right (or below)."
    )


def _failed_summary(images: ImageColumns, metrics: Metrics) -> str:
    stages = ", ".join(f"{count(number)} at {stage}" for stage, number in metrics.images.failures.items())
    shown = "" if images.failed_count == len(images.failed) else f" The first {len(images.failed)} are:"
    return f"{plural(images.failed_count, 'image')} of {count(metrics.images.total)}: {stages}.{shown}"


def render(template: str, **values: object) -> str:
    """The page that a template makes of its values."""
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            style=Markup(style),  # noqa: S704 - the project's own file
            style_hash=f"sha256-{digest}",
            version=_version(),
        )
    )


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jobs.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["thousands"] = count
    environment.filters["decimal"] = decimal
    environment.filters["px"] = "{:.1f}".format
    return environment


def _style() -> str:
    return (files("jobs.report") / "templates" / "style.css").read_text(encoding="utf-8")


def _version() -> str:
    try:
        return version("raysail")
    except PackageNotFoundError:  # a job's code travels without its distribution
        return ""


REPORT = "report.html"


def write_report(run: RunFolder, judged_run: JudgedRun | None = None) -> None:
    """Write report.html into the run's folder, from its metrics.json and its rows; raises RunError.

    judged_run: the run's rows, where they have been read already.
    """
    run.store.write(REPORT, report_page(run, judged_run).encode())


def report_page(run: RunFolder, judged_run: JudgedRun | None = None) -> str:
    """The page of one run."""
    return render("report.html.j2", page=page_of_run(run, read_metrics(run), judged_run))
