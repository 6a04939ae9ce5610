"""G: label files follow from committed rows: one an image that went through, in each format, rebuilt at any time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bmodel.errors import RunError
from bmodel.sidecar import ModelSpec, PredictedLatency
from cluster.pool.work import Shard
from data.formats import LabelFormat
from jobs.run.folder import RunFolder, begin_run
from jobs.run.labels import label_names, write_labels
from jobs.run.store import LocalStore
from tests.helpers.run_rows import NAMES, SIZE_HW, commit_all, detections_of, record_of, refs
from tests.helpers.small_specs import head_spec

IMAGES = refs(10)
SPEC = head_spec().model_copy(update={"class_names": NAMES})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = begin_run(LocalStore(tmp_path / "run"), resume=False, record=record_of(len(IMAGES)))
    commit_all(run.log, IMAGES, [Shard(0, 4), Shard(4, 10)], failed={5})
    return run


def write(
    run: RunFolder, label_format: LabelFormat = "yolo", *, device: str = "cpu", spec: ModelSpec = SPEC
) -> int:
    return write_labels(run.log, run.store, label_format=label_format, spec=spec, device=device)


def labels(run: RunFolder) -> dict[str, str]:
    folder = Path(run.store.place) / "labels"
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.txt")}


def test_every_image_that_went_through_has_a_file_and_a_failed_one_has_none(run: RunFolder) -> None:
    assert write(run) == 9
    found = labels(run)
    assert set(found) == {f"{index % 2}/{index:04d}.txt" for index in range(10) if index != 5}
    for index in set(range(10)) - {5}:
        assert found[f"{index % 2}/{index:04d}.txt"].count("\n") == len(detections_of(index))
    assert found["0/0000.txt"] == "", "an image without detections"


def test_yolo_lines_are_the_rows(run: RunFolder) -> None:
    write(run)
    lines = labels(run)["1/0003.txt"].splitlines()
    expected = detections_of(3)
    for line, xyxy, confidence, class_id in zip(
        lines, expected.xyxy, expected.confidence, expected.class_id, strict=True
    ):
        fields = line.split()
        assert int(fields[0]) == class_id
        assert float(fields[5]) == pytest.approx(confidence, abs=1e-5)
        cx, cy, w, h = (float(field) for field in fields[1:5])
        height, width = SIZE_HW
        found = [(cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height]
        assert found == pytest.approx(xyxy.tolist(), abs=1e-2)


@pytest.mark.parametrize(
    ("label_format", "fields", "first"),
    [
        ("yolo", 6, {"0", "1", "2"}),
        ("yolo-conf-second", 6, {"0", "1", "2"}),
        ("truth", 5, {"0", "1", "2"}),
        ("competition", 6, set(NAMES)),
    ],
)
def test_each_format_has_its_fields(
    label_format: LabelFormat, fields: int, first: set[str], run: RunFolder
) -> None:
    write(run, label_format)
    lines = [line.split() for text in labels(run).values() for line in text.splitlines()]
    assert len(lines) == sum(len(detections_of(index)) for index in range(10) if index != 5)
    assert {len(line) for line in lines} == {fields}
    assert {line[0] for line in lines} <= first


@pytest.mark.parametrize(
    ("device", "schedule_ms", "time_ms"),
    [
        ("sail", None, 10.0),
        ("libbmrt", 77.0, 10.0),
        ("cpu", 77.0, 77.0),
        ("simulator", 77.0, 77.0),
        ("cpu", None, None),
        ("timed", 77.0, None),
    ],
)
def test_the_competitions_time_is_the_cards_or_predicted_or_left_out(
    device: str, schedule_ms: float | None, time_ms: float | None, run: RunFolder
) -> None:
    latency = PredictedLatency.model_construct(corrected_ms=schedule_ms) if schedule_ms else None
    write(run, "competition", device=device, spec=SPEC.model_copy(update={"latency": latency}))
    lines = [line.split() for text in labels(run).values() for line in text.splitlines()]
    if time_ms is None:
        assert {len(line) for line in lines} == {6}
    else:
        assert {float(line[6]) for line in lines} == {time_ms}


def test_another_format_replaces_the_files(run: RunFolder) -> None:
    write(run, "yolo")
    before = labels(run)
    write(run, "truth")
    assert set(labels(run)) == set(before)
    write(run, "yolo")
    assert labels(run) == before


def test_a_file_that_an_earlier_attempt_left_for_a_failed_image_goes(run: RunFolder) -> None:
    stale = Path(run.store.place) / "labels" / "1" / "0005.txt"
    stale.parent.mkdir(parents=True)
    stale.write_text("0 0.5 0.5 0.1 0.1 0.9\n", encoding="utf-8")
    write(run)
    assert not stale.exists()


@pytest.mark.parametrize(
    ("image_ids", "names"),
    [
        (["a.jpg", "b/a.jpg"], ["a.txt", "b/a.txt"]),
        (["a.jpg", "a.png"], ["a.jpg.txt", "a.png.txt"]),
        (["a.b.jpg"], ["a.b.txt"]),
        (["a", "b.tar.png"], ["a.txt", "b.tar.txt"]),
        (["a.jpg", "a.png", "a.jpg.bmp"], ["a.jpg.txt", "a.png.txt", "a.jpg.bmp.txt"]),
        (["x/a.jpg", "y/a.png", "x/a.png"], ["x/a.jpg.txt", "y/a.txt", "x/a.png.txt"]),
    ],
)
def test_the_suffix_is_kept_only_where_files_would_collide(image_ids: list[str], names: list[str]) -> None:
    assert label_names(image_ids) == dict(zip(image_ids, names, strict=True))


def test_a_label_that_cannot_be_written_is_a_clear_error(run: RunFolder) -> None:
    (Path(run.store.place) / "labels" / "0" / "0000.txt").mkdir(parents=True)
    with pytest.raises(RunError, match=r"cannot write '.*0000\.txt': Is a directory"):
        write(run)
    (Path(run.store.place) / "labels" / "0" / "0000.txt").rmdir()
    assert write(run) == 9


def test_boxes_keep_their_order(run: RunFolder) -> None:
    write(run)
    for index in range(10):
        if index != 5:
            lines = labels(run)[f"{index % 2}/{index:04d}.txt"].splitlines()
            confidences = np.array([float(line.split()[5]) for line in lines])
            assert (np.diff(confidences) <= 0).all()
