"""G: a shard counts once its record stands, once, and only as long as its files are what the record says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bmodel.errors import RunError
from cluster.pool.results import DETECTIONS_SCHEMA, IMAGES_SCHEMA
from cluster.pool.work import Shard
from jobs.run.commit import Commit, CommitLog
from jobs.run.store import LocalStore
from tests.helpers.run_rows import commit_all, detections_of, refs, rows_of

IMAGES = refs(10)
SHARDS = [Shard(0, 4), Shard(4, 8), Shard(8, 10)]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "run")


@pytest.fixture
def log(store: LocalStore) -> CommitLog:
    log = CommitLog(store)
    commit_all(log, IMAGES, SHARDS, failed={5})
    return log


def records(store: LocalStore) -> list[dict[str, Any]]:
    lines = (store.folder / "commits.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_committed_files_hold_the_rows_and_their_records_say_so(store: LocalStore, log: CommitLog) -> None:
    log.verify_coverage(10)
    assert log.image_count == 10
    for record, shard in zip(records(store), SHARDS, strict=True):
        assert (record["start"], record["stop"], record["attempt"]) == (shard.start, shard.stop, 1)
        for folder, schema in (("images", IMAGES_SCHEMA), ("detections", DETECTIONS_SCHEMA)):
            file = pq.ParquetFile(store.folder / folder / record[folder]["file"])
            assert file.schema_arrow.names == schema.names
            assert file.metadata.num_rows == record[folder]["rows"]
    found = sum(len(detections_of(index)) for index in range(10) if index != 5)
    assert sum(commit.parts["detections"].rows for commit in log.commits) == found


def test_tables_come_in_the_order_of_the_images_whatever_the_order_of_the_commits(
    store: LocalStore,
) -> None:
    log = CommitLog(store)
    commit_all(log, IMAGES, [SHARDS[2], SHARDS[0], SHARDS[1]])
    for one in (log, CommitLog(store)):
        indexes = [index for table in one.tables("images") for index in table.column("index").to_pylist()]
        assert indexes == list(range(10))
        assert [commit.shard for commit in one.commits] == SHARDS


def test_a_second_commit_of_a_shard_is_dropped(store: LocalStore, log: CommitLog) -> None:
    before = records(store)
    content = (store.folder / "images" / before[0]["images"]["file"]).read_bytes()
    assert log.add(SHARDS[0], rows_of(IMAGES[:4], ms=99.0, attempt=2), 2) is None
    assert records(store) == before
    assert (store.folder / "images" / before[0]["images"]["file"]).read_bytes() == content


@pytest.mark.parametrize("wrong", [IMAGES[0:3], IMAGES[1:5], IMAGES[0:5], IMAGES[3::-1]])
def test_rows_of_other_images_are_refused(wrong: Any, store: LocalStore) -> None:
    log = CommitLog(store)
    with pytest.raises(RunError, match="must be images 0 to 3 in order"):
        log.add(Shard(0, 4), rows_of(wrong), 1)
    assert log.commits == []
    assert not (store.folder / "commits.jsonl").exists()


@pytest.mark.parametrize(
    ("committed", "image_count", "message"),
    [
        (SHARDS[:2], 10, "10 images must be committed, got 8"),
        (SHARDS[1:], 10, "image 0 must be committed once"),
        ([SHARDS[0], SHARDS[2]], 10, "image 4 must be committed once"),
        ([*SHARDS, Shard(2, 4)], 10, "image 2 must be committed once"),
        (SHARDS, 11, "11 images must be committed, got 10"),
        (SHARDS, 9, "9 images must be committed, got 10"),
        ([], 1, "1 images must be committed, got 0"),
    ],
    ids=str,
)
def test_coverage_must_be_exact(
    committed: list[Shard], image_count: int, message: str, store: LocalStore
) -> None:
    log = CommitLog(store)
    commit_all(log, IMAGES, committed)
    with pytest.raises(RunError, match=message):
        log.verify_coverage(image_count)


def test_coverage_needs_the_files_too(store: LocalStore, log: CommitLog) -> None:
    (store.folder / "detections" / records(store)[1]["detections"]["file"]).unlink()
    with pytest.raises(RunError, match="1 committed files are not visible"):
        log.verify_coverage(10)


@pytest.mark.parametrize("folder", ["images", "detections"])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "empty"])
def test_a_damaged_part_voids_its_commit_and_no_other(
    folder: str, damage: str, store: LocalStore, log: CommitLog
) -> None:
    path = store.folder / folder / records(store)[1][folder]["file"]
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-1], "flipped": data[:-9] + b"?" + data[-8:], "empty": b""}[damage])
    again = CommitLog(store)
    again.drop_damaged()
    word = "is missing" if damage == "missing" else "is damaged"
    assert again.voided == [f"{folder}/{path.name} {word}: its 4 images are done again"]
    assert [commit.shard for commit in again.commits] == [SHARDS[0], SHARDS[2]]
    assert [record["start"] for record in records(store)] == [0, 8]
    commit_all(again, IMAGES, [SHARDS[1]], failed={5})
    again.verify_coverage(10)
    assert [table.num_rows for table in CommitLog(store).tables("images")] == [4, 4, 2]


def test_sound_commits_stay_as_they_are(store: LocalStore, log: CommitLog) -> None:
    before = (store.folder / "commits.jsonl").read_bytes()
    again = CommitLog(store)
    again.drop_damaged()
    assert again.voided == []
    assert (store.folder / "commits.jsonl").read_bytes() == before
    again.verify_coverage(10)


def test_parts_without_a_record_go_and_foreign_files_stay(store: LocalStore, log: CommitLog) -> None:
    orphan = store.folder / "images" / "part-0000000010-0000000020.parquet"
    orphan.write_bytes(b"a driver died before it wrote the record")
    foreign = store.folder / "images" / "photograph.jpg"
    foreign.write_bytes(b"not ours")
    CommitLog(store).drop_damaged()
    assert not orphan.exists()
    assert foreign.read_bytes() == b"not ours"


def test_reading_a_part_that_went_missing_or_bad_is_a_clear_error(store: LocalStore, log: CommitLog) -> None:
    path = store.folder / "images" / records(store)[0]["images"]["file"]
    pq.write_table(rows_of(IMAGES[:4]).detections, path)
    with pytest.raises(RunError, match="is damaged: its SHA-256 must be the one in its commit record"):
        list(log.tables("images"))
    first, *others = records(store)
    first["images"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    store.retain_commits([first, *others])
    with pytest.raises(RunError, match="is damaged: columns must be"):
        list(CommitLog(store).tables("images"))
    path.unlink()
    with pytest.raises(RunError, match="is committed and missing"):
        list(log.tables("images"))


PART = "part-0000000000-0000000004.parquet"
# What a changed byte or an author's hand makes of the first record: still a JSON object, and no truth any more.
DAMAGED = [
    {"start": None},
    {"stop": "x"},
    {"images": 3},
    {"images": {"file": "a"}},
    {"start": 4, "stop": 4},
    {"stop": 8},
    {"stop": 3},
    {"start": 1},
    {"stop": float("inf")},
    {"stem": "0000000000-0000000008"},
    {"stem": "0000000000-0000000008", "stop": 8},
    {"images": {"file": PART, "rows": 8, "sha256": "0" * 64}},
    {"images": {"file": "part-0000000004-0000000008.parquet", "rows": 4, "sha256": "0" * 64}},
    {"detections": {"file": "part-0000000000-00000000045.parquet", "rows": 4, "sha256": "0" * 64}},
    *(
        {"images": {"file": file, "rows": 4, "sha256": "0" * 64}}
        for file in ("../run.json", "/etc/passwd", "part-1-2.parquet/../../x", "", "x.parquet")
    ),
]


@pytest.mark.parametrize("change", DAMAGED, ids=str)
def test_a_damaged_record_voids_its_commit_and_no_other(
    change: dict[str, Any], store: LocalStore, log: CommitLog
) -> None:
    first, *others = records(store)
    with pytest.raises(RunError, match="a commit record is damaged"):
        Commit.from_record({**first, **change}, store.place)
    store.retain_commits([{**first, **change}, *others])
    again = CommitLog(store)
    assert [commit.shard for commit in again.commits] == SHARDS[1:]
    again.drop_damaged()
    [told] = again.voided
    assert told.startswith("a commit record is damaged (")
    assert told.endswith("its images are done again")
    assert records(store) == others, "the damaged record is gone"
    assert sorted(path.name for path in (store.folder / "images").iterdir()) == [
        record["images"]["file"] for record in others
    ]
    commit_all(again, IMAGES, SHARDS[:1])
    for one in (again, CommitLog(store)):
        one.verify_coverage(10)
        indexes = [index for table in one.tables("images") for index in table.column("index").to_pylist()]
        assert indexes == list(range(10))


@pytest.mark.parametrize("line", [b'{"stem":"x"}', b"{}", b"[" * 100_000], ids=lambda line: str(line[:9]))
def test_a_foreign_record_stops_no_resumption(line: bytes, store: LocalStore, log: CommitLog) -> None:
    with (store.folder / "commits.jsonl").open("ab") as commits:
        commits.write(line + b"\n")
    again = CommitLog(store)
    again.drop_damaged()
    again.verify_coverage(10)
    assert CommitLog(store).voided == []


def test_a_wrong_number_of_detections_voids_the_commit(store: LocalStore, log: CommitLog) -> None:
    first, *others = records(store)
    first["detections"]["rows"] += 1
    store.retain_commits([first, *others])
    again = CommitLog(store)
    again.drop_damaged()
    assert again.voided == [
        f"detections/{PART} has 6 rows and its record says 7: its 4 images are done again"
    ]
    assert [commit.shard for commit in again.commits] == SHARDS[1:]


def test_a_record_survives_its_way_through_json(store: LocalStore, log: CommitLog) -> None:
    for commit in log.commits:
        record = json.loads(json.dumps(commit.record()))
        assert Commit.from_record(record, store.place) == commit
