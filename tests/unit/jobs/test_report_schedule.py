"""The schedule's picture: the sidecar's prediction an image, and the layers of the build beside the model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import bmodel
from bmodel.compiler.build import latency_path, read_latency
from bmodel.sidecar import read_sidecar, sidecar_path
from jobs.measure.metrics import read_metrics
from jobs.report.latency_section import LAYERS, layer_bars, schedule_picture
from jobs.report.page import report_page
from jobs.run.folder import RunFolder
from tests.helpers.report_runs import MadeUp, make_run

COMPILED = Path(bmodel.__file__).parent / "tiny_fp32_1b.bmodel"


def picture_of(run: RunFolder, **changes: object) -> Any:
    spec = run.record.spec.model_copy(update=changes)
    return schedule_picture(run, spec, read_metrics(run).latency)


def test_the_prediction_is_told_with_its_uncertainty_and_drawn_to_scale(tmp_path: Path) -> None:
    run = make_run(tmp_path, MadeUp(predicted_ms=40.0))
    picture = picture_of(run)
    assert picture.corrected_label == "40.0\N{NARROW NO-BREAK SPACE}ms ± 2.00\N{NARROW NO-BREAK SPACE}ms"
    assert picture.raw / picture.corrected == pytest.approx(0.885)
    assert (picture.high - picture.low) / picture.corrected == pytest.approx(0.1)
    assert picture.high < 100
    assert picture.layers == ()  # there is no build beside 'small.onnx'


def test_a_network_without_a_prediction_has_no_picture(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert picture_of(run) is None
    assert "schedule predicts" not in report_page(run)


def test_the_dearest_layers_of_the_build_add_up_with_the_others(tmp_path: Path) -> None:
    run = make_run(tmp_path, MadeUp(compiled=COMPILED))
    picture = picture_of(run)
    report = read_latency(latency_path(COMPILED))
    assert len(picture.layers) == LAYERS + 1
    assert picture.layers[0].width == 100
    assert report.layers[0].name in picture.layers[0].name
    assert picture.layers[-1].is_rest
    assert picture.layers[-1].name == f"{len(report.layers) - LAYERS} other layers"
    few = report.model_copy(update={"layers": report.layers[:3]})
    assert [bar.is_rest for bar in layer_bars(few)] == [False] * 3
    assert report.layers[0].name in report_page(run)


def test_a_build_of_another_network_is_not_taken_for_the_run_s(tmp_path: Path) -> None:
    copy = tmp_path / "model.bmodel"
    for path_of in (sidecar_path, latency_path):
        shutil.copy(path_of(COMPILED), path_of(copy))
    run = make_run(tmp_path, MadeUp(compiled=copy))
    assert picture_of(run).layers
    latency = read_sidecar(sidecar_path(COMPILED)).latency
    assert latency is not None
    assert picture_of(run, latency=latency.model_copy(update={"raw_ms": 7.0})).layers == ()
    latency_path(copy).write_text("{}")
    assert picture_of(run).layers == ()
