"""Fills the report's templates in; whatever comes from a run is escaped.

The page's policy admits nothing but data: images and the one style sheet, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

import jinja2
from markupsafe import Markup

from jobs.measure.metrics import read_metrics
from jobs.report.format import count
from jobs.report.page import page_of_run
from jobs.run.folder import RunFolder


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
    return environment


def _style() -> str:
    return (files("jobs.report") / "templates" / "style.css").read_text(encoding="utf-8")


def _version() -> str:
    try:
        return version("raysail")
    except PackageNotFoundError:  # a job's code travels without its distribution
        return ""


REPORT = "report.html"


def write_report(run: RunFolder) -> None:
    """Write report.html into the run's folder, from its metrics.json and Parquet files; raises RunError."""
    run.store.write(REPORT, report_page(run).encode())


def report_page(run: RunFolder) -> str:
    """The page of one run."""
    return render("report.html.j2", page=page_of_run(run, read_metrics(run)))
