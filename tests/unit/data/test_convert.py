"""`python -m data.convert`: truth from any of four formats into any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.convert import FORMATS, main
from data.format_names import TruthFormat
from data.formats import read_coco, read_voc
from tests.helpers.label_sets import write_files
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S

NAMES = ("car", "traffic light", "bike")
SIZES = {"a.jpg": (48, 64), "x/a.jpg": (30, 90), "x/b.png": (20, 20)}
# Whole pixels, so that no format has to round.
BOXES = {
    "a.jpg": [(1, [3, 4, 20, 30]), (0, [0, 0, 64, 48])],
    "x/a.jpg": [(2, [10, 5, 50, 25])],
    "x/b.png": [],
}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Images, their names, and the same truth as a COCO JSON."""
    for name, (height, width) in SIZES.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    content = {
        "images": [
            {"id": number, "file_name": name, "height": height, "width": width}
            for number, (name, (height, width)) in enumerate(SIZES.items())
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES)],
        "annotations": [
            {"image_id": number, "category_id": class_id, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
            for number, name in enumerate(SIZES)
            for class_id, (x1, y1, x2, y2) in BOXES[name]
        ],
    }
    (tmp_path / "truth.coco").write_text(json.dumps(content))
    return tmp_path


def convert(work: Path, source: str, source_format: str, target: str, target_format: str, *more: str) -> int:
    options = ["--images", str(work / "images"), "--class-names", str(work / "names.txt")]
    pair = ["--from", source_format, str(work / source), "--to", target_format, str(work / target)]
    return main([*pair, *options, *more])


def content(coco_json: Path) -> dict[str, list[tuple[str, list[float]]]]:
    coco = read_coco(coco_json)
    found: dict[str, list[tuple[str, list[float]]]] = {name: [] for name in coco.image_ids}
    for image, class_id, box in zip(coco.box_image, coco.class_id, coco.xyxy.tolist(), strict=True):
        found[coco.image_ids[image]].append((coco.category_names[class_id], [round(edge, 6) for edge in box]))
    return {name: sorted(found[name]) for name in sorted(found)}


@pytest.mark.parametrize("through", [list(pair) for pair in permutations(FORMATS, 2)], ids="-".join)
def test_truth_survives_every_pair_of_formats(through: list[TruthFormat], work: Path) -> None:
    source = "truth.coco"
    last = "coco"
    for step, target_format in enumerate([*through, "coco"]):
        target = f"step{step}.{target_format}"
        assert convert(work, source, last, target, target_format) == 0
        source, last = target, target_format
    # The competition truncates: after YOLO's fractions, an edge on a whole pixel may lie just below it.
    off = 1 if through == ["yolo", "voc-tool"] else 0
    before, after = content(work / "truth.coco"), content(work / source)
    assert before.keys() == after.keys()
    for image_id, objects in before.items():
        assert [name for name, _ in after[image_id]] == [name for name, _ in objects]
        for (_, box), (_, expected) in zip(after[image_id], objects, strict=True):
            assert box == pytest.approx(expected, abs=off or 1e-6, rel=0)


def test_yolo_labels_are_written_as_fractions(work: Path) -> None:
    assert convert(work, "truth.coco", "coco", "labels", "yolo") == 0
    files = sorted(path.relative_to(work / "labels").as_posix() for path in (work / "labels").rglob("*.txt"))
    assert files == ["a.txt", "x/a.txt", "x/b.txt"]
    assert (work / "labels/x/a.txt").read_text() == "2 0.333333333 0.5 0.444444444 0.666666667\n"
    assert (work / "labels/x/b.txt").read_text() == ""


def test_class_names_lie_beside_yolo_labels_when_nobody_gave_them(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--from", "coco", str(work / "truth.coco"), "--to", "yolo", str(work / "labels")]) == 0
    assert (work / "labels.names").read_text().splitlines() == list(NAMES)
    assert "3 images, 3 objects of 3 classes" in capsys.readouterr().out


def test_pascal_voc_counts_pixels_from_one_with_the_last_one_inside(work: Path) -> None:
    assert convert(work, "truth.coco", "coco", "annotations", "voc") == 0
    text = (work / "annotations/a.xml").read_text()
    assert "<xmin>4</xmin><ymin>5</ymin><xmax>20</xmax><ymax>30</ymax>" in text
    assert "<name>traffic light</name>" in text
    assert read_voc(work / "annotations/x/b.xml").names == ()


def test_crowds_are_left_out_and_counted(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads((work / "truth.coco").read_text())
    document["annotations"][0]["iscrowd"] = 1
    (work / "crowd.coco").write_text(json.dumps(document))
    assert convert(work, "crowd.coco", "coco", "labels", "yolo") == 0
    assert "2 objects" in (out := capsys.readouterr().out)
    assert "1 crowds left out: yolo has none" in out
    assert len((work / "labels/a.txt").read_text().splitlines()) == 1
    assert convert(work, "crowd.coco", "coco", "again.coco", "coco") == 0
    assert read_coco(work / "again.coco").crowd.sum() == 1


def test_yolo_labels_end_at_the_images_edge(work: Path) -> None:
    document = json.loads((work / "truth.coco").read_text())
    document["annotations"][1]["bbox"] = [-0.5, 0, 65, 48.2]
    (work / "over.coco").write_text(json.dumps(document))
    assert convert(work, "over.coco", "coco", "labels", "yolo") == 0
    assert (work / "labels/a.txt").read_text().splitlines()[1] == "0 0.5 0.5 1 1"
    assert convert(work, "labels", "yolo", "back.coco", "coco") == 0


def test_every_bad_line_is_told_and_nothing_is_written(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(
        work / "labels",
        {"a.txt": "0 0.5 0.5 0.1 0.1\n7 0.5 0.5 0.1 0.1\nx y\n", "x/a.txt": "0 0.5 nan 0.1 0.1\n"},
    )
    (work / "labels/x/b.txt").write_bytes(b"\xff")
    assert convert(work, "labels", "yolo", "out.coco", "coco") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert set(err.splitlines()) == {
        f"a label file must be UTF-8, got byte 0xff at 0: '{work}/labels/x/b.txt'",
        f"{work}/labels/a.txt:2: class must be a whole number from 0 to 2, got 7",
        f"{work}/labels/a.txt:3: a line must be `class cx cy w h`, got 2 fields",
        f"{work}/labels/x/a.txt:1: a value must be a finite number, got 'nan'",
    }
    assert len(err.splitlines()) == 4
    assert not (work / "out.coco").exists()


def test_every_bad_annotation_is_told(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(work, "truth.coco", "coco", "annotations", "voc") == 0
    (work / "annotations/a.xml").write_text("<annotation>")
    (work / "annotations/x/a.xml").write_text("<html/>")
    capsys.readouterr()
    assert convert(work, "annotations", "voc", "out.coco", "coco") == 1
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2
    assert "a.xml:1: the file must be XML" in err[0]
    assert "the root element must be annotation" in err[1]


def test_a_target_that_is_there_is_never_overwritten(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(work / "labels", {"mine.txt": "precious"})
    assert convert(work, "truth.coco", "coco", "labels", "yolo") == 1
    assert convert(work, "truth.coco", "coco", "truth.coco", "coco") == 1
    assert capsys.readouterr().err.count("the target must not exist yet") == 2
    assert (work / "labels/mine.txt").read_text() == "precious"


def test_a_file_name_cannot_lead_out_of_the_target(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads((work / "truth.coco").read_text())
    document["images"][0]["file_name"] = "../../escaped.jpg"
    (work / "evil.coco").write_text(json.dumps(document))
    assert convert(work, "evil.coco", "coco", "labels", "yolo") == 1
    assert "must be relative and stay inside its folder, got '../../escaped.jpg'" in capsys.readouterr().err
    assert not (work / "labels").exists()


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--from", "yolo", "a", "--to", "coco", "b"], "--from yolo needs --class-names"),
        (["--from", "voc-tool", "a", "--to", "coco", "b"], "--from voc-tool needs --images"),
        (["--from", "kitti", "a", "--to", "coco", "b"], "invalid choice: 'kitti'"),
        (["--from", "coco", "a"], "the following arguments are required"),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: list[str], rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert rule in capsys.readouterr().err


def test_runs_as_a_module(work: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "data.convert",
        "--from",
        "coco",
        "truth.coco",
        "--to",
        "voc",
        "annotations",
    ]
    root = ROOT
    done = subprocess.run(
        command,
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "3 images, 3 objects of 3 classes in 'annotations'\n"


@pytest.mark.photographs
def test_the_photographs_truth_becomes_their_labels(photographs: Path, tmp_path: Path) -> None:
    source = str(photographs / "instances.json")
    assert main(["--from", "coco", source, "--to", "yolo", str(tmp_path / "labels")]) == 0
    expected = list((photographs / "labels").glob("*.txt"))
    assert len(expected) == 62
    for path in expected:
        ours = np.loadtxt(tmp_path / "labels" / path.name, ndmin=2)
        theirs = np.loadtxt(path, ndmin=2)
        order = [np.lexsort(np.round(table, 3).T) for table in (ours, theirs)]
        assert np.abs(ours[order[0]] - theirs[order[1]]).max() < 1e-5, path.name
