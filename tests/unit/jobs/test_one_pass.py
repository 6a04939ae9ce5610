"""Whatever is derived from a run, each of its part files is opened once, and its truth once: counted at the store."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

from cluster.pool.results import ShardResult
from data.columns import Scored
from jobs.commands.evaluate import command as evaluate_command
from jobs.commands.export import command as export_command
from jobs.commands.labels import command as labels_command
from jobs.commands.report import command as report_command
from jobs.config.detect_config import DetectConfig
from jobs.derive import derive
from jobs.inputs.resolve import ResolvedJob
from jobs.measure.metrics import Metrics, read_metrics
from jobs.measure.one_pass import CONFIDENCE_WITHOUT_TRUTH, read_rows, read_truth
from jobs.run.commit import CommitLog
from jobs.run.folder import RunFolder, begin_run, open_run
from jobs.run.image_columns import read_images
from jobs.run.store import LocalStore, ObjectStore, RunStore
from tests.helpers.object_store import S3, s3_server
from tests.helpers.report_runs import NAMES, MadeUp, make_run
from tpu_worker.detector import DetectOptions
from tpu_worker.devices import DeviceOptions

LIKE = MadeUp(images=70, failed=(3, 40), lost=(50,), crowds=True)


class Counted:
    """Counts the reads of a store by the file's name."""

    reads: Counter[str]

    def read(self, name: str) -> bytes:
        self.reads[name] += 1
        data: bytes = super().read(name)  # type: ignore[misc]
        return data


class CountedLocalStore(Counted, LocalStore):
    """A folder whose reads are counted."""


class CountedObjectStore(Counted, ObjectStore):
    """A prefix whose reads are counted."""


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["folder", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RunStore:
    store: CountedLocalStore | CountedObjectStore
    if request.param == "folder":
        store = CountedLocalStore(tmp_path / "copy")
    else:
        server: S3 = request.getfixturevalue("s3")
        filesystem, base = pyarrow.fs.FileSystem.from_uri(server.url(f"runs/{tmp_path.name}"))
        store = CountedObjectStore(filesystem, base, place=f"s3://raysail/{base}")
    store.reads = Counter()
    return store


OPENED: Counter[str] = Counter()


def count_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | Path):
        OPENED[str(arguments[0])] += 1


@pytest.fixture(scope="module", autouse=True)
def hooked() -> None:
    """The interpreter itself tells of every file that is opened; a hook stays to the process's end."""
    sys.addaudithook(count_opened)


@pytest.fixture
def opened() -> Counter[str]:
    OPENED.clear()
    return OPENED


def copied(run: RunFolder, store: RunStore) -> RunFolder:
    """The run's rows committed once more, into another store, nothing derived from them."""
    copy = begin_run(store, resume=False, record=run.record)
    tables = zip(run.log.tables("images"), run.log.tables("detections"), strict=True)
    for commit, (images, detections) in zip(run.log.commits, tables, strict=True):
        copy.log.add(commit.shard, ShardResult(images=images, detections=detections), commit.attempt)
    return RunFolder(store=store, log=CommitLog(store), record=run.record)


def derived(run: RunFolder, *, label_format: str = "yolo", save_images: int = 4) -> Metrics:
    record = run.record
    model = Path(record.images_place).with_name("small.onnx")
    model.touch()
    options = {**record.configuration, "model": model, "device": record.device, "save-images": save_images}
    config = DetectConfig.model_validate({**options, "label-format": label_format})
    device = DeviceOptions(name="cpu", spec=record.spec, model_path=model)
    job = ResolvedJob(spec=record.spec, device=device, detect=DetectOptions(), ran=record.model)
    return derive(config, job, run, [], detect_s=1.0)


def parts_of(run: RunFolder) -> list[str]:
    files = [f"{folder}/{part.file}" for commit in run.log.commits for folder, part in commit.parts.items()]
    assert len(files) >= 6, "several parts, or once would be no news"
    return sorted(files)


def test_between_the_last_commit_and_the_mark_each_part_and_the_truth_are_opened_once(
    store: CountedLocalStore | CountedObjectStore, tmp_path: Path, opened: Counter[str]
) -> None:
    made = make_run(tmp_path, LIKE)
    run = copied(made, store)
    store.reads.clear()
    opened.clear()
    metrics = derived(run)
    parts = {name: times for name, times in store.reads.items() if name.endswith(".parquet")}
    assert parts == dict.fromkeys(parts_of(run), 1)
    assert opened[str(tmp_path / "truth.json")] == 1
    assert {"_SUCCESS", "report.html", "metrics.json", "labels", "annotated"} <= set(store.entries())
    assert len(store.names("labels/street")) == 67
    assert len(store.names("annotated")) == 4
    expected = read_metrics(made)
    assert (metrics.map, metrics.images) == (expected.map, expected.images)
    assert (metrics.latency, metrics.throughput) == (expected.latency, expected.throughput)


def test_without_truth_each_part_is_opened_once(
    store: CountedLocalStore | CountedObjectStore, tmp_path: Path
) -> None:
    run = copied(make_run(tmp_path, MadeUp(images=70, truth=False)), store)
    store.reads.clear()
    derived(run)
    parts = {name: times for name, times in store.reads.items() if name.endswith(".parquet")}
    assert parts == dict.fromkeys(parts_of(run), 1)


@pytest.mark.parametrize("command", ["evaluate", "report", "labels", "export csv", "export coco"])
def test_each_command_on_a_finished_run_opens_each_part_once(
    command: str, tmp_path: Path, opened: Counter[str]
) -> None:
    run = make_run(tmp_path, LIKE)
    place = run.store.place
    opened.clear()
    match command.split():
        case ["evaluate"]:
            evaluate_command(place)
        case ["report"]:
            report_command([place])
        case ["labels"]:
            labels_command(place)
        case ["export", str(kind)]:
            export_command(place, to="csv" if kind == "csv" else "coco")
    assert {name: opened[f"{place}/{name}"] for name in parts_of(run)} == dict.fromkeys(parts_of(run), 1)
    assert opened[str(tmp_path / "truth.json")] <= 1


def test_made_up_detections_are_opened_only_where_somebody_takes_them(tmp_path: Path) -> None:
    run = make_run(tmp_path, MadeUp(device="timed"))
    images = read_images(run.log.tables("images"))
    for path in (tmp_path / "run" / "detections").iterdir():
        path.unlink()
    rows = read_rows(run.log, images, None, made_up=True)
    assert (len(rows.scored), rows.mean_ap()) == (0, None)
    assert rows.detection_count > 0


def test_what_is_kept_without_truth_is_what_a_page_shows(tmp_path: Path) -> None:
    run = make_run(tmp_path, MadeUp(images=40, truth=False))
    scored = read_rows(run.log, read_images(run.log.tables("images")), None).scored
    rows = [row for table in run.log.tables("detections") for row in table.to_pylist()]
    shown = [row for row in rows if row["confidence"] >= CONFIDENCE_WITHOUT_TRUTH]
    assert scored.image.tolist() == [row["index"] for row in shown]
    assert scored.confidence.tolist() == [row["confidence"] for row in shown]
    assert scored.xyxy.tolist() == [[row[side] for side in ("x1", "y1", "x2", "y2")] for row in shown]


def test_detections_stand_at_their_image_in_the_truth_whatever_its_order(tmp_path: Path) -> None:
    """A truth of a part of the images: those that it does not list are not scored."""
    run = make_run(tmp_path, MadeUp(images=40))
    images = read_images(run.log.tables("images"))
    whole = read_truth(tmp_path / "truth.json", images, run.record.spec)
    listed = set(whole.image_ids[5:30])
    known = {name: position for position, name in enumerate(whole.image_ids)}
    scored = read_rows(run.log, images, whole).scored
    rows = [row for table in run.log.tables("detections") for row in table.to_pylist()]
    assert isinstance(scored, Scored)
    assert scored.image.tolist() == [known[row["image_id"]] for row in rows]
    assert [NAMES[number] for number in scored.class_id] == [row["class_name"] for row in rows]
    assert listed < set(images.image_ids())


def test_images_as_columns_say_what_the_tables_say(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path, LIKE).store.place)
    images = read_images(run.log.tables("images"))
    rows = [row for table in run.log.tables("images") for row in table.to_pylist()]
    assert images.image_ids() == [row["image_id"] for row in rows]
    sizes = [None if row["height"] is None else (row["height"], row["width"]) for row in rows]
    assert (images.sizes_hw(), images.sizes_hw(30, 45)) == (sizes, sizes[30:45])
    cards = Counter(row["card"] for row in rows if row["card"] is not None)
    assert images.per_card() == cards
    assert images.failures == {"read": 2, "inference": 1}
    assert list(images.failures) == ["read", "inference"]
    assert images.prepared == Counter(row["prepared_on"] for row in rows if row["prepared_on"] is not None)
