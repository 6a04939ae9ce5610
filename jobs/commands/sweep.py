"""`raysail sweep`: a study of models, sizes, precisions, batches and preprocessing as one job of many runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from jobs.study.sweep_file import Sweep
    from jobs.study.sweep_points import Row
    from jobs.study.sweep_table import SweepResult

PAGE: Final = "sweep.md"
CSV: Final = "sweep.csv"
JSON: Final = "sweep.json"
PICTURE: Final = "sweep.svg"


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="the study, like jobs/writeup.yaml")],
    *,
    only_list: Annotated[
        bool, typer.Option("--list", help="list what would become of each point, and run none")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="folder for tables and runs [the file's]")
    ] = None,
) -> None:
    """Run every point that can run here, and write one table and one picture of all points."""
    raise typer.Exit(sweep(file, only_list=only_list, output=output))


def sweep(path: Path, *, only_list: bool, output: Path | None) -> int:
    """Run the sweep; returns its exit code: 1 if a point failed, otherwise 0.

    Points that finished before are not run again.

    Raises RaysailError for a file or an option that is wrong, and Stopped, after which the same command resumes.
    """
    from jobs.study.run_once import read_job_file
    from jobs.study.sweep_file import Sweep
    from jobs.study.sweep_points import ranked
    from jobs.study.sweep_table import SweepResult

    study = read_job_file(path, Sweep)
    if output is not None:
        study = study.model_copy(update={"output": output})
    rows = _settle_points(study, path, only_list=only_list)
    result = SweepResult(title=study.title, points=tuple(ranked(rows)))
    _show(study, result, write=not only_list)
    return 1 if any(row.status == "failed" for row in rows) else 0


def _settle_points(study: Sweep, path: Path, *, only_list: bool) -> list[Row]:
    from jobs.study.predictions import read_predictions
    from jobs.study.run_sweep import check_options, check_point, run_point
    from jobs.study.sweep_points import points_of

    check_options(study, path)
    predictions = read_predictions(study.predictions)
    settle = check_point if only_list else run_point
    points, rows = points_of(study), []
    for number, point in enumerate(points, start=1):
        row = settle(point, study, predictions, place=path)
        rows.append(row)
        reason = f": {row.reason}" if row.reason else ""
        sys.stderr.write(f"[{number}/{len(points)}] {row.label}: {row.status}{reason}\n")
    return rows


def _show(study: Sweep, result: SweepResult, *, write: bool) -> None:
    from jobs.run.store import LocalStore
    from jobs.study.sweep_picture import picture
    from jobs.study.sweep_table import sweep_csv, sweep_page

    drawn = picture(result.points, title=study.title) if write else None
    page = sweep_page(result, make=study.make, picture=PICTURE if drawn else None)
    sys.stdout.write(page)
    if not write:
        return
    store = LocalStore(study.output)
    store.write(PAGE, page.encode())
    store.write(CSV, sweep_csv(result.points).encode())
    store.write(JSON, (result.model_dump_json(indent=2) + "\n").encode())
    if drawn:
        store.write(PICTURE, drawn.encode())
    sys.stdout.write(f"\nEverything is in {store.place}\n")


if __name__ == "__main__":
    from jobs.command_line import run_alone

    run_alone(command, prog_name="python -m jobs.commands.sweep")
