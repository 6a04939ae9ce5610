"""`raysail inspect`, as people run it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

MODEL = ROOT / "bmodel/tiny_int8_1b_quantised.bmodel"


def inspect(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobs.command_line", "inspect", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (
            MODEL,
            ("BM1684", "uint8", "1 x 3 x 64 x 96", "256.004", "head16_Transpose", "126,976 bytes, whole"),
        ),
        (ROOT / "models/tiny.onnx", ("images", "? x 3 x ? x ? x 8")),
    ],
)
def test_tables_fit_eighty_columns(path: Path, wanted: tuple[str, ...]) -> None:
    outcome = inspect(path)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert [text for text in wanted if text not in outcome.stdout] == []
    assert max(map(len, outcome.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            ROOT / "models/tiny.onnx",
            [
                "heads, strides 8, 16, 32, 3 anchors per cell",
                "3: car, person, bike",
                "RGB, 0 to 1",
                "nothing",
            ],
        ),
        (MODEL, ["centred on grey 114, in 96 x 64 pixels", "its sidecar"]),
    ],
)
def test_it_says_how_detection_reads_the_file(path: Path, words: list[str]) -> None:
    text = " ".join(inspect(path).stdout.split())
    assert [word for word in words if word not in text] == []


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    bare = Path(shutil.copy(ROOT / "bmodel/tiny_fp32_1b.bmodel", tmp_path))
    detector = json.loads(inspect(bare, "--json").stdout)["detector"]
    assert detector["layout"].startswith("heads")
    assert "needs --anchors yolov5, yolov7 or a file" in detector["missing"]
    assert "--class-names FILE" in detector["missing"]


@pytest.mark.photographs
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("yolov8n_640_1b", ["anchor-free", "80: person, bicycle", "640 x 640", "missing nothing"]),
        ("yolox_nano_416_1b", ["missing layout:", "decoded (80", "yolox (80", "--layout"]),
    ],
)
def test_real_networks_in_words(photographs: Path, name: str, words: list[str]) -> None:
    text = " ".join(inspect(photographs / f"heads/{name}.onnx").stdout.split())
    assert [word for word in words if word not in text] == []


def test_json_holds_the_whole_header() -> None:
    content = json.loads(inspect(MODEL, "--json").stdout)
    outputs = content["networks"][0]["stages"][0]["outputs"]
    assert [output["shape"] for output in outputs] == [[1, 3, 8, 12, 8], [1, 3, 4, 6, 8], [1, 3, 2, 3, 8]]
    assert content["has_sidecar"] is True


def test_errors_are_one_line(tmp_path: Path) -> None:
    cut = tmp_path / "cut.bmodel"
    cut.write_bytes(MODEL.read_bytes()[:5000])
    for path, code, text in (
        (cut, 1, "the file is cut off"),
        (tmp_path / "missing.bmodel", 2, "does not exist"),
        (ROOT / "README.md", 2, "must be a .bmodel or .onnx file"),
    ):
        outcome = inspect(path)
        assert (outcome.returncode, outcome.stdout) == (code, "")
        assert text in outcome.stderr
        assert len(outcome.stderr.splitlines()) == 1
