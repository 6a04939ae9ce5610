"""`raysail export`: a run's detections as COCO results or CSV, for tools that do not read Parquet."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import typer

from bmodel.errors import ConfigurationError, RunError
from bmodel.files import whole_file
from data.formats import class_index, format_coco_results, plain_name, read_coco
from jobs.config.choices import ExportFormat
from jobs.run.folder import SUCCESS, RunFolder, open_run
from jobs.run.store import LocalStore

Ids = dict[str, int]


def command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="folder or URL of a finished run")],
    *,
    to: Annotated[ExportFormat, typer.Option("--format", help="what to write")],
    ground_truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="COCO JSON whose ids to use [the run's ground truth, if that is one]"
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="where to write [the run's folder]")
    ] = None,
) -> None:
    """Write a run's detections as COCO results (detections.coco.json) or CSV (detections.csv, images.csv)."""
    opened = open_run(run)
    if SUCCESS not in opened.store.names(""):
        raise ConfigurationError(f"RUN: must be finished (continue it with --resume), and '{run}' is not")
    folder = output or _own_folder(opened)
    folder.mkdir(parents=True, exist_ok=True)
    if to == "coco":
        written = export_coco(opened, folder, _coco_truth(opened, ground_truth))
    elif ground_truth is not None:
        raise ConfigurationError("--ground-truth: is only for --format coco")
    else:
        written = export_csv(opened, folder)
    sys.stdout.writelines(f"{path}\n" for path in written)


def _own_folder(run: RunFolder) -> Path:
    if not isinstance(run.store, LocalStore):
        raise ConfigurationError(
            f"--output: is required because the run is in an object store: '{run.store.place}'"
        )
    return run.store.folder


def _coco_truth(run: RunFolder, given: Path | None) -> Path | None:
    """The JSON file whose ids the results use; None if ids count from 1."""
    truth = given or Path(run.record.ground_truth or "")
    if truth.suffix == ".json" and truth.is_file():
        return truth
    if given is not None:
        raise ConfigurationError(f"--ground-truth: must be a COCO JSON file, and '{given}' is not one")
    return None


def export_csv(run: RunFolder, folder: Path) -> list[Path]:
    """Write images.csv and detections.csv, columns as in Parquet; returns their paths."""
    written = []
    for name in ("images", "detections"):
        path = folder / f"{name}.csv"
        with _whole_file(path) as file:
            writer = None
            for table in run.log.tables(name):
                writer = writer or pyarrow.csv.CSVWriter(file, table.schema)
                writer.write_table(table)
            if writer is not None:
                writer.close()
        written.append(path)
    return written


def export_coco(run: RunFolder, folder: Path, truth: Path | None) -> list[Path]:
    """Write detections.coco.json, a list in COCO's results format, and images.coco.json, which explains its ids.

    Ids are the truth's if there is a COCO truth; otherwise images and categories count from 1.
    """
    image_ids, category_ids = ({}, {}) if truth is None else _ids_of(truth)
    categories = _category_ids(run.class_names, category_ids)
    numbers = _image_numbers(image_ids)
    images: list[dict[str, Any]] = []
    results = folder / "detections.coco.json"
    with _whole_file(results) as file:
        file.write(b"[")
        separator = b"\n"
        for rows, found in zip(run.log.tables("images"), run.log.tables("detections"), strict=True):
            of_shard = _images_of_shard(rows, numbers)
            images += of_shard
            if not found.num_rows:
                continue
            file.write(separator + _results(found, rows, of_shard, categories).encode())
            separator = b",\n"
        file.write(b"\n]\n")
    listed = [
        {"id": int(number), "name": name} for number, name in zip(categories, run.class_names, strict=True)
    ]
    meaning = folder / "images.coco.json"
    with _whole_file(meaning) as file:
        document = {"images": images, "categories": listed, "annotations": []}
        file.write(json.dumps(document, ensure_ascii=False).encode() + b"\n")
    return [results, meaning]


def _ids_of(truth: Path) -> tuple[Ids, Ids]:
    """The ids of a COCO JSON's images by file name, and of its categories by plain name."""
    boxes = read_coco(truth)
    image_ids = dict(zip(boxes.image_ids, boxes.image_numbers, strict=True))
    named = zip(boxes.category_names, boxes.category_ids, strict=True)
    return image_ids, {plain_name(name): number for name, number in named}


def _category_ids(class_names: tuple[str, ...], known: Ids) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Each class's category id; a class that the truth does not name gets one above all of the truth's."""
    class_index(class_names)
    spare = max(known.values(), default=0)
    return np.array(
        [known.get(plain_name(name), spare + 1 + class_id) for class_id, name in enumerate(class_names)],
        np.int64,
    )


def _image_numbers(known: Ids) -> Callable[[int, str], int]:
    spare = max(known.values(), default=0)
    return lambda index, image_id: known.get(image_id, spare + 1 + index)


def _images_of_shard(rows: pa.Table, number: Callable[[int, str], int]) -> list[dict[str, Any]]:
    """COCO's entries; a failed image has no size."""
    return [
        {
            "id": number(row["index"], row["image_id"]),
            "file_name": row["image_id"],
            "width": row["width"] or 0,
            "height": row["height"] or 0,
        }
        for row in rows.select(["index", "image_id", "width", "height"]).to_pylist()
    ]


def _results(
    found: pa.Table,
    rows: pa.Table,
    images: list[dict[str, Any]],
    categories: np.ndarray[Any, np.dtype[np.int64]],
) -> str:
    first = rows.column("index")[0].as_py()
    numbers = np.array([image["id"] for image in images], np.int64)
    return format_coco_results(
        numbers[found.column("index").to_numpy() - first],
        categories[found.column("class_id").to_numpy()],
        np.stack([found.column(name).to_numpy() for name in ("x1", "y1", "x2", "y2")], axis=1),
        found.column("confidence").to_numpy(),
    )


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only when it is complete; raises RunError."""
    try:
        with whole_file(path) as file:
            yield file
    except OSError as error:
        raise RunError(f"cannot write '{path}': {error.strerror}") from error
