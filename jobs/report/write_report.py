"""Fills the report's templates in; whatever comes from a run is escaped.

The page's policy admits nothing but data: images and the one style sheet, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import jinja2
import typer
from markupsafe import Markup

from bmodel.errors import ConfigurationError
from jobs.measure.metrics import read_metrics
from jobs.report.comparison import compare_runs
from jobs.report.format import count
from jobs.report.page import page_of_run
from jobs.run.folder import RunFolder, open_run


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
COMPARISON = Path("comparison.html")


def report_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="folders or URLs of finished runs")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="[report.html in the run; of several runs comparison.html here]"),
    ] = None,
) -> None:
    """Write a run's report.html again, or a page that compares several runs."""
    opened = [open_run(place) for place in runs]
    if len(opened) > 1:
        page = render("comparison.html.j2", page=compare_runs(opened, [read_metrics(run) for run in opened]))
        _write(output or COMPARISON, page)
    elif output is not None:
        _write(output, report_page(opened[0]))
    else:
        write_report(opened[0])
        sys.stdout.write(f"{opened[0].store.place}/{REPORT}\n")


def write_report(run: RunFolder) -> None:
    """Write report.html into the run's folder, from its metrics.json and Parquet files; raises RunError."""
    run.store.write(REPORT, report_page(run).encode())


def report_page(run: RunFolder) -> str:
    """The page of one run."""
    return render("report.html.j2", page=page_of_run(run, read_metrics(run)))


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--output: cannot write '{path}': {error.strerror}") from error
    sys.stdout.write(f"{path}\n")
