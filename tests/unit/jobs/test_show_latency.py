"""What `raysail latency` prints of a sidecar, a build's folder and a schedule, and what it refuses."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from bmodel.compiler.build import OPERATIONS, SCHEDULE, latency_path, read_build
from bmodel.errors import ConfigurationError, ModelFileError
from bmodel.sidecar import read_sidecar, sidecar_path
from jobs.commands.latency import describe, describe_sidecar, load
from tests.helpers.paths import FIXTURES, ROOT

BMODEL = ROOT / "bmodel/tiny_int8_4b.bmodel"
SCHEDULES = FIXTURES / "schedules"


def test_a_sidecar_tells_time_and_layers() -> None:
    spec, report = load(sidecar_path(BMODEL))
    assert spec is not None
    assert report is not None
    text = "\n".join(describe(report, batch=spec.batch, layers=10))
    assert "predicted by the compiler's schedule" in text
    assert "rough" in text
    assert "per image of its 4" in text
    rows = [line for line in text.splitlines() if re.match(r" *\d+\.\d%  ", line)]
    assert len(rows) == 10
    shares = [float(row.split("%")[0]) for row in rows]
    assert shares == sorted(shares, reverse=True)


def test_a_sidecar_alone_tells_the_time(tmp_path: Path) -> None:
    shutil.copy(sidecar_path(BMODEL), tmp_path)
    path = tmp_path / sidecar_path(BMODEL).name
    spec, report = load(path)
    assert report is None
    assert spec is not None
    assert spec.latency is not None
    text = "\n".join(describe_sidecar(spec, path))
    assert f"{spec.latency.corrected_ms:.4g} ± " in text
    unpredicted = spec.model_copy(update={"latency": None})
    with pytest.raises(ConfigurationError, match="has no prediction"):
        describe_sidecar(unpredicted, path)


def test_a_report_of_another_compilation_is_refused(tmp_path: Path) -> None:
    shutil.copy(sidecar_path(BMODEL), tmp_path)
    shutil.copy(latency_path(ROOT / "bmodel/tiny_fp32_1b.bmodel"), latency_path(tmp_path / BMODEL.name))
    with pytest.raises(ModelFileError, match="is from a different compilation"):
        load(tmp_path / sidecar_path(BMODEL).name)


def test_a_schedule_takes_names_from_beside_it(tmp_path: Path) -> None:
    shutil.copy(SCHEDULES / "tiny_fp32_1b.dat", tmp_path / SCHEDULE)
    _, report = load(tmp_path / SCHEDULE)
    assert report is not None
    assert {layer.name for layer in report.layers} >= {"Conv2D_39"}
    shutil.copy(SCHEDULES / "tiny_fp32_1b.operations.json", tmp_path / OPERATIONS)
    _, report = load(tmp_path / SCHEDULE)
    assert report is not None
    assert {layer.name for layer in report.layers} >= {"stem_conv_Conv"}
    # The same compilation's report is committed beside its BModel.
    _, committed = load(sidecar_path(ROOT / "bmodel/tiny_fp32_1b.bmodel"))
    assert committed is not None
    assert committed.prediction == report.prediction


def test_a_bare_bmodel_has_no_time() -> None:
    with pytest.raises(ConfigurationError, match="the schedule exists only during compilation"):
        load(BMODEL)


@pytest.mark.parametrize("name", ["missing", "folder"])
def test_refuses_what_is_no_build(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises((ConfigurationError, ModelFileError), match=name):
        load(tmp_path / name)


def test_a_build_whose_bmodel_was_exchanged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "build.json").write_text(
        '{"name": "x", "source_name": "x.onnx", "source_sha256": "", "input_shape": [1, 3, 64, 96], "precision": '
        '"fp32", "normalisation": {}, "calibration": "", "fp32_layers": [], "quantised_io": false, '
        '"bmodel_sha256": "12", "tpu_mlir": "1.30.2", "seconds": 1}'
    )
    (tmp_path / "x.bmodel").write_text("another")
    with pytest.raises(ModelFileError, match="missing or not what was built"):
        read_build(tmp_path)


def test_the_committed_sidecars_are_of_the_committed_compilations() -> None:
    for path in sorted((ROOT / "bmodel").glob("*.bmodel")):
        spec = read_sidecar(sidecar_path(path))
        assert spec.latency is not None, path
        assert spec.verification is not None, path
        assert spec.verification.passed, path
        _, report = load(sidecar_path(path))
        assert report is not None, path
