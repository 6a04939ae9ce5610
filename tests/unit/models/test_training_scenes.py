"""What the sample network's training sees: varied scenes, scenes on disk, anchors, the schedule, the log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.scenes import HELD_OUT
from models.training.anchors import cluster_anchors
from models.training.augment import PADDING, centre, vary
from models.training.scene_store import SIDE_PX, SceneStore, StoredScene
from models.training.training_schedule import LogLine, Schedule, append_line, read_column


def test_stored_scenes_are_the_series_own_at_training_size(tmp_path: Path) -> None:
    store = SceneStore(tmp_path, HELD_OUT, 3)
    store.prepare(1)
    for number in range(3):
        scene, stored = HELD_OUT.scene(number), store[number]
        assert max(stored.bgr.shape) == SIDE_PX
        scale = SIDE_PX / max(scene.bgr.shape)
        assert np.allclose(stored.boxes[:, 1:], scene.xyxy * scale, atol=1e-3)
        assert np.array_equal(stored.boxes[:, 0], scene.class_id)
        if scale == 1:
            assert np.abs(stored.bgr.astype(int) - scene.bgr).mean() < 8  # what the JPEG changes


def test_stored_scenes_are_not_rendered_twice(tmp_path: Path) -> None:
    SceneStore(tmp_path, HELD_OUT, 1).prepare(1)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    SceneStore(tmp_path, HELD_OUT, 1).prepare(1)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def marked_scene() -> StoredScene:
    """A black scene with one white rectangle, and its box."""
    bgr = np.zeros((312, 416, 3), np.uint8)
    bgr[100:160, 200:240] = 255
    return StoredScene(bgr=bgr, boxes=np.array([(1, 200, 100, 240, 160)], np.float32))


def test_a_varied_scene_keeps_its_boxes_on_their_objects() -> None:
    kept = 0
    for seed in range(40):
        varied = vary(marked_scene(), 320, np.random.default_rng(seed))
        assert varied.bgr.shape == (320, 320, 3)
        rows, columns = np.nonzero(varied.bgr.min(2) > 175)  # brighter than any grey border becomes
        if len(varied.boxes) and len(rows):
            kept += 1
            extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.abs(varied.boxes[0, 1:] - extent).max() <= 1.5
    assert kept > 20


def test_a_scene_is_centred_on_grey() -> None:
    square, corner = centre(marked_scene())
    assert square.shape == (SIDE_PX, SIDE_PX, 3)
    assert corner == (0, 52)
    assert (square[:52] == PADDING).all()
    assert (square[152:212, 200:240] == 255).all()


def test_anchors_are_ordered_and_near_the_boxes() -> None:
    random = np.random.default_rng(3)
    sides = np.repeat(np.array([4.0, 8, 16, 24, 40, 64, 100, 150, 220]), 50)
    boxes = (sides[:, None] * random.uniform(0.95, 1.05, (len(sides), 2))).astype(np.float32)
    levels = cluster_anchors(boxes)
    flat = np.array(levels).reshape(9, 2)
    assert np.array(levels).shape == (3, 3, 2)
    assert (np.diff(flat.prod(1)) > 0).all()
    assert np.allclose(flat[:, 0], [4, 8, 16, 24, 40, 64, 100, 150, 220], rtol=0.1)


def test_too_few_boxes_for_anchors_are_refused() -> None:
    with pytest.raises(ValueError, match="9 anchors need"):
        cluster_anchors(np.ones((50, 2), np.float32))


def test_the_schedule_rises_and_falls_twice_and_changes_size() -> None:
    schedule = Schedule(images=32_000, coarse_images=8_000, closing_images=16_000, warm_up_steps=100)
    rates = [schedule.rate(step) for step in range(schedule.steps)]
    assert (schedule.steps, schedule.closing_step) == (2000, 1000)
    assert int(np.argmax(rates)) in range(95, 105)
    assert rates[999] == pytest.approx(3e-3 * 0.02, rel=0.01)
    assert int(np.argmax(rates[1000:])) in range(95, 105)
    assert max(rates[1000:]) == pytest.approx(8e-4, rel=0.05)
    assert rates[-1] == pytest.approx(8e-4 * 0.02, rel=0.01)
    assert (schedule.side_px(499), schedule.side_px(500)) == (320, 416)
    assert (schedule.is_closing(999), schedule.is_closing(1000)) == (False, True)


@pytest.mark.parametrize(
    ("images", "coarse", "closing"), [(8, 0, 0), (1600, 1601, 0), (1600, -1, 0), (1600, 0, 1601)]
)
def test_a_schedule_that_cannot_be_is_refused(images: int, coarse: int, closing: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        Schedule(images=images, coarse_images=coarse, closing_images=closing)


def test_the_log_reads_back(tmp_path: Path) -> None:
    for images, figure in ((100, None), (200, 0.5)):
        line = LogLine(
            minutes=1.0,
            images=images,
            side_px=320,
            rate=0.1,
            box=2.0,
            objectness=1.0,
            classes=0.5,
            images_per_s=60.0,
            ap50=figure,
        )
        append_line(tmp_path / "log.csv", line)
    assert read_column(tmp_path / "log.csv", "ap50") == [(200.0, 0.5)]
    assert read_column(tmp_path / "log.csv", "box") == [(100.0, 2.0), (200.0, 2.0)]
