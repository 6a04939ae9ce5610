"""Exports say what the Parquet files say, in ids that COCO's tools understand, whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bmodel.errors import ConfigurationError
from jobs.commands.export import command as export_command
from jobs.measure.metrics import read_metrics
from jobs.run.folder import RunFolder
from tests.helpers.report_runs import MadeUp, make_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path, MadeUp(images=30, failed=(4,), lost=(9,), crowds=True))


def column(run: RunFolder, folder: str, name: str) -> list[object]:
    return [value for table in run.log.tables(folder) for value in table.column(name).to_pylist()]


def test_coco_results_score_as_the_run_did(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renumber(tmp_path / "truth.json")
    export_command(run.store.place, to="coco")
    folder = tmp_path / "run"
    assert capsys.readouterr().out == f"{folder}/detections.coco.json\n{folder}/images.coco.json\n"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "detections.coco.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = read_metrics(run)
    assert metrics.map is not None
    coco = metrics.map.coco
    assert evaluation.stats[:2].tolist() == pytest.approx([coco.ap, coco.ap50], abs=1e-9)


def renumber(path: Path) -> None:
    """Give a COCO JSON ids with gaps, as real ones have."""
    document = json.loads(path.read_text())
    for key in ("images", "categories"):
        for entry in document[key]:
            entry["id"] = entry["id"] * 7 + 100
    for annotation in document["annotations"]:
        annotation["image_id"] = annotation["image_id"] * 7 + 100
        annotation["category_id"] = annotation["category_id"] * 7 + 100
    path.write_text(json.dumps(document))


def test_without_coco_truth_ids_count_from_one_and_say_what_they_mean(tmp_path: Path) -> None:
    run = make_run(tmp_path, MadeUp(truth=False, images=20, failed=(4,)))
    export_command(run.store.place, to="coco")
    meaning = json.loads((tmp_path / "run" / "images.coco.json").read_text())
    assert [(entry["id"], entry["file_name"]) for entry in meaning["images"]] == [
        (number + 1, f"street/{number:03d}.jpg") for number in range(20)
    ]
    assert meaning["images"][4]["width"] == 0
    assert meaning["categories"] == [
        {"id": number, "name": name} for number, name in enumerate(("car", "person", "bike"), start=1)
    ]
    results = json.loads((tmp_path / "run" / "detections.coco.json").read_text())
    assert [one["image_id"] for one in results] == [
        int(str(index)) + 1 for index in column(run, "detections", "index")
    ]
    left, right = np.array(column(run, "detections", "x1")), np.array(column(run, "detections", "x2"))
    assert [one["bbox"][0] for one in results] == pytest.approx(left.tolist(), rel=1e-6)
    assert [one["bbox"][2] for one in results] == pytest.approx((right - left).tolist(), rel=1e-4)


def test_images_and_classes_that_the_truth_does_not_name_get_ids_above_its_own(
    run: RunFolder, tmp_path: Path
) -> None:
    path = tmp_path / "truth.json"
    document = json.loads(path.read_text())
    document["images"] = document["images"][:10]
    document["categories"] = document["categories"][:1]
    document["annotations"] = [
        one for one in document["annotations"] if one["image_id"] <= 10 and one["category_id"] == 1
    ]
    path.write_text(json.dumps(document))
    export_command(run.store.place, to="coco")
    meaning = json.loads((tmp_path / "run" / "images.coco.json").read_text())
    for key, first in (("images", 10), ("categories", 1)):
        ids = [entry["id"] for entry in meaning[key]]
        assert len(set(ids)) == len(ids)
        assert ids[:first] == list(range(1, first + 1))
        assert min(ids[first:]) > first


def test_csv_has_every_row_and_column(run: RunFolder, tmp_path: Path) -> None:
    export_command(run.store.place, to="csv", output=tmp_path / "elsewhere" / "deep")
    for name in ("images", "detections"):
        with (tmp_path / "elsewhere" / "deep" / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for field in rows[0]:
            expected = ["" if value is None else value for value in column(run, name, field)]
            found = [row[field] for row in rows]
            if isinstance(expected[0], float):
                assert [float(value or "nan") for value in found] == pytest.approx(
                    [float(str(value) or "nan") for value in expected], rel=1e-6, nan_ok=True
                )
            else:
                assert found == [str(value) for value in expected]


def test_an_export_replaces_an_older_one_and_leaves_nothing_unfinished(
    run: RunFolder, tmp_path: Path
) -> None:
    for _ in range(2):
        export_command(run.store.place, to="coco")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert not [name for name in names if name.endswith(".tmp")]
    assert {"detections.coco.json", "images.coco.json"} <= names


def test_a_run_without_a_box_has_an_empty_list(tmp_path: Path) -> None:
    run = make_run(tmp_path, MadeUp(images=3, failed=(0, 1, 2)))
    export_command(run.store.place, to="coco")
    assert json.loads((tmp_path / "run" / "detections.coco.json").read_text()) == []
    export_command(run.store.place, to="csv")
    lines = (tmp_path / "run" / "detections.csv").read_text().splitlines()
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "coco", "ground_truth": Path("/no/such.json")}, "--ground-truth: must be a COCO JSON"),
        ({"to": "csv", "ground_truth": Path("/no/such.json")}, "--ground-truth: is only for --format coco"),
    ],
)
def test_refuses_options_that_do_not_fit(run: RunFolder, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        export_command(run.store.place, **options)  # type: ignore[arg-type]


def test_refuses_a_run_that_is_not_finished(run: RunFolder) -> None:
    run.store.remove("_SUCCESS")
    with pytest.raises(ConfigurationError, match="RUN: must be finished"):
        export_command(run.store.place, to="csv")
