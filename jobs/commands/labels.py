"""`raysail labels`: write a run's label files again from its Parquet, in any label format."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from data.formats import WrittenFormat
from jobs.run.folder import open_run
from jobs.run.labels import write_labels
from jobs.run.store import open_store


def command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="folder or URL of a run")],
    label_format: Annotated[WrittenFormat, typer.Option(help="format of the label files")] = "yolo",
    output: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="where to write them [labels/ of the run]")
    ] = None,
) -> None:
    """Write one label file for every image that did not fail; existing files are overwritten."""
    opened = open_run(run)
    store, folder = (opened.store, "labels") if output is None else (open_store(output), ".")
    count = write_labels(
        opened.log,
        store,
        label_format=label_format,
        spec=opened.record.spec,
        device=opened.record.timing_device,
        folder=folder,
    )
    sys.stdout.write(f"{count} label files are in {store.place}{'/labels' if output is None else ''}\n")
