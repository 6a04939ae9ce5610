"""`raysail report`: write a run's page again, or one page that compares several runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bmodel.errors import ConfigurationError
from jobs.measure.metrics import read_metrics
from jobs.report.comparison import compare_runs
from jobs.report.page import REPORT, render, report_page, write_report
from jobs.run.folder import open_run

COMPARISON = Path("comparison.html")


def command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="folders or URLs of finished runs")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="page to write [report.html in the run; comparison.html here for several runs]",
        ),
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


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--output: cannot write '{path}': {error.strerror}") from error
    sys.stdout.write(f"{path}\n")
