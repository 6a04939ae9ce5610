"""A run and its images in an object store, on a real S3 server: nothing is renamed, appended to, or half there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bmodel.errors import ConfigurationError, RunError
from cluster.health.card_health import Sample
from cluster.pool.work import Shard
from jobs.inputs.images import list_images
from jobs.run.commit import CommitLog
from jobs.run.folder import begin_run, check_folder, finish_run, open_run
from jobs.run.health import read_health, write_health
from jobs.run.labels import write_labels
from jobs.run.store import ObjectStore, open_store
from tests.helpers.image_files import encode, landscape
from tests.helpers.object_store import BUCKET, KEY, S3, SECRET, s3_server
from tests.helpers.run_rows import NAMES, commit_all, committed_ids, record_of, refs
from tests.helpers.small_specs import head_spec
from tpu_worker.read_image import ReadOptions, read_image

IMAGES = refs(10)
SHARDS = [Shard(0, 4), Shard(4, 8), Shard(8, 10)]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def store(s3: S3, request: pytest.FixtureRequest) -> ObjectStore:
    store = open_store(s3.url(f"runs/{request.node.name}"))
    assert isinstance(store, ObjectStore)
    return store


def test_files_are_written_read_listed_and_removed(store: ObjectStore) -> None:
    assert (store.names("images"), store.entries(), store.commits()) == ([], [], [])
    store.write("images/b", b"2")
    store.write("images/a", b"1")
    store.write("images/a", b"3")
    assert store.names("images") == ["a", "b"]
    assert store.read("images/a") == b"3"
    assert store.entries() == ["images"]
    store.remove("images/a")
    assert store.names("images") == ["b"]
    with pytest.raises(FileNotFoundError):
        store.read("images/a")


def test_no_two_attempts_write_the_same_object(store: ObjectStore) -> None:
    assert len({store.part_name("0000000000-0000000004") for _ in range(20)}) == 20


def test_commits_stand_until_they_are_voided(store: ObjectStore, s3: S3) -> None:
    log = CommitLog(store)
    commit_all(log, IMAGES, SHARDS)
    log.verify_coverage(10)
    again = CommitLog(store)
    again.drop_damaged()
    assert (again.voided, again.commits) == ([], log.commits)
    part = again.commits[1].parts["images"].file
    prefix = f"runs/{store.place.split('/runs/')[1].split('?')[0]}"
    s3.put(f"{prefix}/images/{part}", b"something else")
    s3.put(f"{prefix}/detections/part-0000000004-0000000008-00000000.parquet", b"never committed")
    s3.put(f"{prefix}/commits/0000000008-0000000010.json", b"{")
    third = CommitLog(store)
    third.drop_damaged()
    assert third.voided == [f"images/{part} is damaged: its 4 images are done again"]
    assert [commit.shard for commit in third.commits] == [SHARDS[0]]
    assert len(store.names("detections")) == 1
    commit_all(third, IMAGES, SHARDS[1:])
    third.verify_coverage(10)
    CommitLog(store).verify_coverage(10)


def test_a_whole_run_with_labels(store: ObjectStore, s3: S3) -> None:
    run = begin_run(store, resume=True, record=record_of(len(IMAGES)))
    commit_all(run.log, IMAGES, SHARDS[:2], failed={5})
    again = begin_run(store, resume=True, record=record_of(len(IMAGES)))
    assert again.log.image_count == 8
    commit_all(again.log, IMAGES, SHARDS[2:])
    again.log.verify_coverage(10)
    spec = head_spec().model_copy(update={"class_names": NAMES})
    assert write_labels(again.log, store, label_format="yolo", spec=spec, device="cpu") == 9
    finish_run(again)
    assert committed_ids(again) == [image.image_id for image in IMAGES]
    assert set(store.entries()) == {"run.json", "images", "detections", "commits", "labels", "_SUCCESS"}
    assert len(store.names("labels/0")) + len(store.names("labels/1")) == 9
    with pytest.raises(ConfigurationError, match="holds a run already"):
        check_folder(store, resume=False)


def test_the_label_file_of_an_image_that_fails_later_is_removed(store: ObjectStore) -> None:
    spec = head_spec().model_copy(update={"class_names": NAMES})
    run = begin_run(store, resume=False, record=record_of(len(IMAGES)))
    commit_all(run.log, IMAGES, SHARDS)
    assert write_labels(run.log, store, label_format="yolo", spec=spec, device="cpu") == 10
    assert "0005.txt" in store.names("labels/1")
    part = run.log.commits[1].parts["images"].file
    store.remove(f"images/{part}")
    again = begin_run(store, resume=True, record=record_of(len(IMAGES)))
    commit_all(again.log, IMAGES, SHARDS[1:2], failed={5})
    for _ in range(2):  # the second time there is nothing to remove
        assert write_labels(again.log, store, label_format="yolo", spec=spec, device="cpu") == 9
        assert store.names("labels/1") == [f"{index:04d}.txt" for index in (1, 3, 7, 9)]


def test_samples_of_the_cards_health_are_written_part_by_part(store: ObjectStore) -> None:
    silent = Sample(device_id=0, time_s=1.0, health=None, error="no answer")
    for count in (2, 3):
        write_health(store, [("host/0", silent)] * count, run_started_s=0.0)
    assert [name for name in store.names("health") if name] == ["part-000000.parquet", "part-000001.parquet"]
    table = read_health(store)
    assert table is not None
    assert table.column("error").to_pylist() == ["no answer"] * 5


def test_a_prefix_that_holds_something_else_is_refused(store: ObjectStore) -> None:
    store.write("images/photo.jpg", b"")
    with pytest.raises(ConfigurationError, match="must be empty or a run, and it holds 'images'"):
        begin_run(store, resume=True, record=record_of(len(IMAGES)))


def test_a_run_is_read_back_by_its_url(s3: S3) -> None:
    url = s3.url("runs/read-back")
    begin_run(open_store(url), resume=False, record=record_of(len(IMAGES)))
    assert open_run(url).image_count == 10
    with pytest.raises(ConfigurationError, match=r"holds no run\.json"):
        open_run(s3.url("runs/nowhere"))


def test_no_secret_is_in_a_place_or_an_error(s3: S3) -> None:
    store = open_store(s3.url("runs/secret"))
    assert BUCKET in store.place
    with pytest.raises(ConfigurationError) as listed:
        list_images(s3.url("nothing/here"))
    s3.put("bare/notes.txt", b"")
    with pytest.raises(ConfigurationError, match="must name at least one image") as bare:
        list_images(s3.url("bare"))
    unreachable = s3.url("runs/x").replace(f"%3A{s3.port}", "%3A9")
    with pytest.raises((RunError, ConfigurationError)) as refused:
        open_store(unreachable + "&connect_timeout=1&retry_strategy=standard%3A1").names("images")
    for text in (store.place, str(listed.value), str(bare.value), str(refused.value)):
        assert KEY not in text
        assert SECRET not in text
        assert "secret" not in text.replace("runs/secret", "")


def test_images_of_a_prefix_are_listed_and_read(s3: S3) -> None:
    names = [
        "set/a b.jpg",
        "set/100%.png",
        "set/what?.jpg",
        "set/x/車#1.jpg",
        "set/.hidden/c.jpg",
        "set/n.txt",
    ]
    for name in names:
        s3.put(name, encode(".png", landscape(4, 6)))
    images = list_images(s3.url("set"))
    assert images.image_ids.to_pylist() == ["100%.png", "a b.jpg", "what?.jpg", "x/車#1.jpg"]
    for image in images.refs(0, 4):
        assert read_image(image.path, ReadOptions()).size_hw == (4, 6)
    assert list_images(s3.url("set/")).sha256() == images.sha256()


def test_a_commit_is_one_small_object_written_last(store: ObjectStore, s3: S3) -> None:
    commit_all(CommitLog(store), IMAGES, SHARDS[:1])
    [name] = store.names("commits")
    record = json.loads(store.read(f"commits/{name}"))
    assert name == "0000000000-0000000004.json"
    assert record["images"]["file"] in store.names("images")
    assert record["detections"]["file"] in store.names("detections")
