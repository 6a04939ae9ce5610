"""A sweep's points: which there are, what can run here, what is predicted, and who is better."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmodel.errors import ConfigurationError, ModelFileError
from bmodel.sidecar import read_sidecar, sidecar_path
from jobs.commands.sweep import sweep
from jobs.study.predictions import Predictions, read_predictions
from jobs.study.run_once import read_job_file
from jobs.study.run_sweep import check_point
from jobs.study.sweep_file import Sweep
from jobs.study.sweep_points import Figures, Row, make_row, pareto_front, points_of, ranked
from tests.helpers.paths import ROOT
from tests.helpers.reproduction_files import image_set, write_yaml
from tests.helpers.sweep_files import read_sweep, sweep_content

NOTHING_PREDICTED = Predictions(table={})


def looked_at(
    content: dict[str, Any], folder: Path, predictions: Predictions = NOTHING_PREDICTED
) -> dict[str, Row]:
    study = read_sweep(folder, content)
    found = {}
    for point in points_of(study):
        row = check_point(point, study, predictions, place=folder / "sweep.yaml")
        found[point.name] = row
    return found


def test_the_write_up_s_full_matrix() -> None:
    study = read_job_file(ROOT / "jobs" / "writeup.yaml", Sweep)
    points = points_of(study)
    assert len(points) == 11 * 2 * 2 * 2
    sizes = {(point.model, point.size_hw[0]) for point in points}
    assert sizes == {
        *(("yolov7-tiny", 640), ("yolov7", 640), ("yolov7", 768), ("yolov7", 800)),
        *(("yolov7x", 640), ("yolov7x", 864), ("yolov7x", 960)),
        *(("yolov7-e6e", 640), ("yolov7-e6e", 864), ("yolov7-e6e", 960), ("yolov7-e6e", 1280)),
    }
    [odd] = {
        point.file
        for point in points
        if point.size_hw != point.input_hw and point.precision == "fp32" and point.batch == 1
    }
    assert str(odd) == "bmodel/yolov7-e6e_896x896_fp32_1b.bmodel"


def test_published_scores_follow_from_the_published_map_and_i_time() -> None:
    study = read_job_file(ROOT / "jobs" / "writeup.yaml", Sweep)
    rows = ranked([make_row(point, study, status="missing") for point in points_of(study)])
    scores = {
        (row.model, row.size_hw[0]): (row.published.score, row.published.score_computed)
        for row in rows
        if row.published is not None and row.published.score is not None
    }
    assert {key: score for key, (score, _) in scores.items()} == {
        ("yolov7", 640): 167.2,
        ("yolov7", 768): 164.2,
        ("yolov7x", 640): 161.36,
        ("yolov7-e6e", 1280): 118.4,
    }
    for score, computed in scores.values():
        assert computed == pytest.approx(score, abs=0.05)


def test_a_size_that_differs_in_its_sides_is_height_times_width(tmp_path: Path) -> None:
    study = read_sweep(tmp_path, sweep_content(tmp_path))
    assert {(point.size_hw, point.input_hw) for point in points_of(study)} == {((64, 96), (64, 96))}
    assert points_of(study)[0].name == "tiny-64x96-fp32-1b-opencv"


def test_what_is_said_twice_is_one_point(tmp_path: Path) -> None:
    content = {**sweep_content(tmp_path), "batch": [1, 1], "precision": ["fp32", "fp32"]}
    assert len(points_of(read_sweep(tmp_path, content))) == 2


def test_what_can_run_here_and_why_the_rest_cannot(tmp_path: Path) -> None:
    image_set(tmp_path)
    found = looked_at(sweep_content(tmp_path), tmp_path)
    assert {name: row.status for name, row in found.items()} == {
        "tiny-64x96-fp32-1b-opencv": "ready",
        "tiny-64x96-fp32-1b-bmcv": "predicted",
        "tiny-64x96-fp32-4b-opencv": "ready",
        "tiny-64x96-fp32-4b-bmcv": "predicted",
        "tiny-64x96-int8-1b-opencv": "predicted",
        "tiny-64x96-int8-1b-bmcv": "predicted",
        "tiny-64x96-int8-4b-opencv": "predicted",
        "tiny-64x96-int8-4b-bmcv": "predicted",
    }
    assert found["tiny-64x96-fp32-1b-bmcv"].reason == "bmcv needs device sail, got device cpu"
    assert "'cpu' cannot run the int8 model" in found["tiny-64x96-int8-1b-opencv"].reason
    for batch, name in ((1, "tiny-64x96-int8-1b-opencv"), (4, "tiny-64x96-int8-4b-opencv")):
        latency = read_sidecar(sidecar_path(Path(found[name].file))).latency
        predicted = found[name].predicted
        assert latency is not None
        assert predicted is not None
        assert predicted.ms == latency.corrected_ms / batch
    assert not any(row.figures or row.rank for row in found.values())
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("device", [{}, {"device": "auto"}, {"device": "sail"}])
def test_a_clusters_cards_may_prepare_images_whatever_this_host_has(
    tmp_path: Path, device: dict[str, str]
) -> None:
    image_set(tmp_path)
    content = {**sweep_content(tmp_path), "precision": ["fp32"], "batch": [1], "preprocess": ["bmcv"]}
    content["options"] = {"conf": 0.1, "address": "198.51.100.7:6379", **device}
    [row] = looked_at(content, tmp_path).values()
    assert (row.status, row.reason) == ("ready", "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": "nowhere"}, "images: must be"),
        ({"ground-truth": "nowhere"}, "ground-truth: must be"),
        ({"models": {"tiny": {"sizes": [64]}}}, "must be 64 fp32 batch 1, got 64x96 fp32 batch 1 in"),
        ({"network-file": "nowhere/{model}.bmodel"}, "'nowhere/tiny.bmodel' is not there"),
    ],
)
def test_a_point_that_cannot_run_says_why(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    image_set(tmp_path)
    content = {
        **sweep_content(tmp_path),
        "precision": ["fp32"],
        "batch": [1],
        "preprocess": ["opencv"],
        **changes,
    }
    [row] = looked_at(content, tmp_path).values()
    assert row.status in {"missing", "predicted"}
    assert words in row.reason


def test_a_damaged_network_is_a_reason_and_its_sidecar_still_predicts(tmp_path: Path) -> None:
    image_set(tmp_path)
    network = tmp_path / "tiny_fp32_1b.bmodel"
    network.write_bytes(b"no BModel")
    shutil.copy(sidecar_path(ROOT / "bmodel" / network.name), sidecar_path(network))
    content = {
        **sweep_content(tmp_path),
        "network-file": str(tmp_path / "{model}_{precision}_{batch}b.bmodel"),
    }
    found = looked_at(content, tmp_path)
    row = found["tiny-64x96-fp32-1b-opencv"]
    assert row.status == "predicted"
    assert str(network) in row.reason
    assert found["tiny-64x96-int8-4b-opencv"].status == "missing"


def test_the_latency_table_predicts_networks_that_are_not_there(tmp_path: Path) -> None:
    table = tmp_path / "latency.json"
    rows = [
        {
            "model": "tiny",
            "size": 64,
            "precision": "fp32",
            "batch": 1,
            "corrected_ms": 0.5,
            "uncertainty_ms": 0.02,
        },
        {
            "model": "tiny",
            "size": 64,
            "precision": "int8",
            "batch": 4,
            "corrected_ms": 0.1,
            "uncertainty_ms": 0.05,
        },
    ]
    table.write_text(json.dumps({"command": "x", "rows": rows}))
    content = {
        **sweep_content(tmp_path),
        "network-file": "nowhere/{model}_{size}_{precision}_{batch}.bmodel",
        "models": {"tiny": {"sizes": [64]}},
    }
    found = looked_at(content, tmp_path, read_predictions(table))
    predicted = {name: row.predicted.ms for name, row in found.items() if row.predicted}
    assert predicted == {
        "tiny-64-fp32-1b-opencv": 0.5,
        "tiny-64-fp32-1b-bmcv": 0.5,
        "tiny-64-int8-4b-opencv": 0.1,
        "tiny-64-int8-4b-bmcv": 0.1,
    }


def test_no_table_predicts_nothing_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    assert read_predictions(None).table == {}
    assert read_predictions(tmp_path / "nowhere.json").table == {}
    (tmp_path / "other.json").write_text('{"rows": [{"model": "x"}]}')
    with pytest.raises(
        ModelFileError, match=r"predictions: must be a table of predicted latency: .*other\.json"
    ):
        read_predictions(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"surplus": 1}, "surplus: is not an option"),
        ({"models": {}}, "models: "),
        ({"models": {"tiny": {"sizes": []}}}, "models.tiny.sizes: "),
        ({"models": {"../tiny": {"sizes": [64]}}}, "models: names must be of letters"),
        ({"models": {"tiny": {"sizes": ["64 x 96"]}}}, "must be SIDE or HEIGHTxWIDTH, got '64 x 96'"),
        ({"models": {"tiny": {"sizes": [True]}}}, "must be SIDE or HEIGHTxWIDTH, got True"),
        ({"precision": ["fp16"]}, "precision.0: "),
        ({"batch": [0]}, "batch: must be positive, got 0"),
        ({"batch": []}, "batch: "),
        ({"preprocess": ["opencl"]}, "preprocess.0: "),
        ({"network-file": "{modle}.bmodel"}, "got 'modle' in '{modle}.bmodel'"),
        ({"network-file": "{model}.pt"}, "must end in .bmodel or .onnx"),
        (
            {"published": [{"model": "tiny", "size": 640}]},
            "published: must be of points of this sweep, got tiny 640 fp32",
        ),
        ({"published": [{"model": "tiny", "size": "64x96", "map50": 77.4}]}, "published.0.map50: "),
        ({"options": {"conf": 2}}, "options.conf: must be less than 1, got 2"),
        ({"options": {"preprocess": "opencv"}}, "options.preprocess: "),
        ({"options": {"model": "x.bmodel"}}, "options.model: "),
    ],
)
def test_a_wrong_key_is_named_with_its_file(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    image_set(tmp_path)
    path = write_yaml(tmp_path / "sweep.yaml", {**sweep_content(tmp_path), **changes})
    with pytest.raises(ConfigurationError) as caught:
        sweep(path, only_list=True, output=None)
    assert words in str(caught.value)
    assert "sweep.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="FILE: must be a YAML file, and 'nowhere' is not there"):
        read_job_file(Path("nowhere"), Sweep)
    with pytest.raises(ConfigurationError, match="is a folder"):
        read_job_file(write_yaml(tmp_path / "a.yaml", {}).parent, Sweep)


def rows_with(study: Sweep, places: list[tuple[float, float] | None]) -> list[Row]:
    rows = []
    for point, place in zip(points_of(study), places, strict=False):
        figures = None
        if place is not None:
            ms, map50 = place
            figures = Figures(
                map50=map50,
                map_protocol="yolo",
                i_time_ms=ms,
                i_time_source="measured on BM1684",
                score=map50 * 100 + (1000 - ms) / 10,
                device="sail",
                images=1,
                failed=0,
                run="x",
            )
        rows.append(make_row(point, study, status="run" if figures else "missing", figures=figures))
    return rows


def test_ranks_follow_the_score_and_equal_scores_share_one(tmp_path: Path) -> None:
    study = read_sweep(tmp_path, sweep_content(tmp_path))
    places = [(100.0, 0.7), None, (200.0, 0.9), (100.0, 0.7), (300.0, 0.1)]
    rows = ranked(rows_with(study, places))
    assert [row.rank for row in rows] == [2, None, 1, 2, 4]
    assert [row.pareto for row in rows] == [True, False, True, True, False]


def test_the_front_is_what_no_other_point_beats() -> None:
    dice = np.random.default_rng(3)
    for _ in range(50):
        places = [(float(ms), float(map50)) for ms, map50 in np.round(dice.random((12, 2)), 1)]
        front = pareto_front(places)
        for position, (ms, map50) in enumerate(places):
            beaten = any(
                (other_ms < ms and other_map >= map50) or (other_ms <= ms and other_map > map50)
                for other_ms, other_map in places
            )
            assert (position in front) != beaten
        assert [places[position][0] for position in front] == sorted(
            places[position][0] for position in front
        )


def test_the_outlook_needs_a_published_map_and_a_prediction(tmp_path: Path) -> None:
    content = sweep_content(tmp_path)
    content["published"] = [
        {"model": "tiny", "size": "64x96", "map50": 0.5, "i-time-ms": 10, "score": 149},
        {"model": "tiny", "size": "64x96", "batch": 4, "i-time-ms": 10},
    ]
    image_set(tmp_path)
    found = looked_at(content, tmp_path)
    first = found["tiny-64x96-fp32-1b-opencv"]
    assert first.predicted is not None
    assert first.outlook_score == pytest.approx(50 + (1000 - first.predicted.ms) / 10)
    assert first.published is not None
    assert first.published.score_computed == pytest.approx(149)
    assert found["tiny-64x96-fp32-4b-opencv"].outlook_score is None
    assert found["tiny-64x96-fp32-1b-bmcv"].published is None
