"""H: a run → report.html, one file that needs no network; several runs → a page that compares them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bmodel.errors import ConfigurationError
from jobs.metrics_file import read_metrics
from jobs.report.comparison import compare_runs
from jobs.report.page import page_of_run
from jobs.report.render import render
from jobs.run_folder.folder import RunFolder, open_run

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
