"""Annotated images: the worst first, truth beside detections, boxes in the colour of what they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from jobs.measure.metrics import read_metrics
from jobs.report.gallery import Box
from jobs.report.page import page_of_run
from jobs.report.pictures import draw_boxes, save_images
from tests.helpers.report_runs import SIZE_HW, MadeUp, make_run


def test_writes_the_worst_images_first_truth_beside_detections(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert save_images(run, 3) == 3
    worst = [picture.image_id for picture in page_of_run(run, read_metrics(run)).worst[:3]]
    names = [f"{rank}-{name.replace('/', '_')}" for rank, name in enumerate(worst, start=1)]
    folder = tmp_path / "run" / "annotated"
    assert sorted(path.name for path in folder.iterdir()) == names
    picture = cv2.imread(str(folder / names[0]))
    assert picture is not None
    assert picture.shape == (SIZE_HW[0], 2 * SIZE_HW[1] + 8, 3)


def test_fewer_replace_more_and_an_unreadable_image_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path, MadeUp(images=10))
    assert save_images(run, 10) == 10
    worst = page_of_run(run, read_metrics(run)).worst[0].image_id
    (tmp_path / "images" / worst).write_bytes(b"no image")
    assert save_images(run, 2) == 1
    names = [path.name for path in (tmp_path / "run" / "annotated").iterdir()]
    assert len(names) == 1
    assert names[0].startswith("2-")


def test_without_truth_images_are_single_and_spread_over_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, MadeUp(truth=False, images=11))
    assert save_images(run, 3) == 3
    folder = tmp_path / "run" / "annotated"
    assert sorted(path.name for path in folder.iterdir()) == [
        "1-street_000.jpg",
        "2-street_005.jpg",
        "3-street_010.jpg",
    ]
    picture = cv2.imread(str(folder / "1-street_000.jpg"))
    assert picture is not None
    assert picture.shape == (*SIZE_HW, 3)


@pytest.mark.parametrize(
    ("like", "count"), [(MadeUp(device="timed"), 3), (MadeUp(), 0)], ids=["timed", "none"]
)
def test_writes_nothing_where_there_is_nothing_to_show(tmp_path: Path, like: MadeUp, count: int) -> None:
    assert save_images(make_run(tmp_path, like), count) == 0
    assert not (tmp_path / "run" / "annotated").exists()


@pytest.mark.parametrize(
    ("kind", "colour"), [("found", (255, 255, 255)), ("missed", (31, 210, 255)), ("false", (43, 90, 255))]
)
def test_a_box_lies_where_it_should_in_its_colour(kind: str, colour: tuple[int, int, int]) -> None:
    grey = np.full((100, 200, 3), 128, np.uint8)
    box = Box(xyxy=(80, 60, 240, 160), kind=kind, title="", rank=0)
    drawn = draw_boxes(grey, [box], 0.5)
    assert tuple(drawn[55, 40].tolist()) == colour  # the left edge, at half of 80
    assert tuple(drawn[80, 80].tolist()) == colour  # the lower edge, at half of 160
    assert (drawn[50, 80] == 128).all()  # inside
    assert (drawn[5:25] == 128).all()  # far away
    assert (grey == 128).all()  # the image given is not changed


@pytest.mark.parametrize("corner", [(0, 0), (180, 0), (0, 90), (180, 90)])
def test_a_title_stays_on_the_image(corner: tuple[int, int]) -> None:
    grey = np.full((100, 200, 3), 128, np.uint8)
    left, top = corner
    box = Box(xyxy=(left, top, left + 20, top + 10), kind="false", title="motorcycle", rank=0)
    untitled = draw_boxes(grey, [Box(xyxy=box.xyxy, kind="false", title="", rank=0)], 1.0)
    changed = (draw_boxes(grey, [box], 1.0) != untitled).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert columns[-1] - columns[0] > 40  # the whole word is there
    assert rows[-1] - rows[0] >= 7


def test_a_long_name_keeps_its_end(tmp_path: Path) -> None:
    prefix = "a-very-long-folder-name-of-a-camera/" * 6
    run = make_run(tmp_path, MadeUp(images=3, prefix=prefix))
    assert save_images(run, 1) == 1
    [path] = (tmp_path / "run" / "annotated").iterdir()
    assert len(path.name) < 170
    assert path.stem[-3:].isdigit()
