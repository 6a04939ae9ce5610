"""A run's folder: begun, gone on with, and never mixed with another run or with foreign files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bmodel.errors import ConfigurationError, RunError
from cluster.pool.work import Shard
from jobs.run.folder import begin_run, check_folder, finish_run, open_run
from jobs.run.record import parse_record
from jobs.run.store import LocalStore
from tests.helpers.run_rows import commit_all, committed_ids, record_of, refs

IMAGES = refs(6)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "run")


def whole(**changes: object) -> bytes:
    """A run.json that would be sound without these changes."""
    content = json.loads(record_of(len(IMAGES)).to_json())
    return json.dumps({**content, **changes}).encode()


def run_json(store: LocalStore) -> dict[str, Any]:
    return dict(json.loads(store.read("run.json")))


def test_a_new_run_writes_its_record_first(store: LocalStore) -> None:
    run = begin_run(store, resume=False, record=record_of(len(IMAGES)))
    assert parse_record(store.read("run.json"), "run.json") == record_of(len(IMAGES)) == run.record
    assert run_json(store)["schema_version"] == 1
    assert "shard_size" not in run_json(store), "no driver has counted its cards yet"
    assert (run.image_count, run.log.image_count) == (6, 0)
    assert run.class_names == ("car", "person", "bike")
    run.update(shard_size=2)
    assert run_json(store)["shard_size"] == 2


def test_resume_goes_on_with_what_is_committed(store: LocalStore) -> None:
    run = begin_run(store, resume=False, record=record_of(len(IMAGES)))
    run.update(shard_size=2)
    commit_all(run.log, IMAGES, [Shard(0, 2)])
    again = begin_run(store, resume=True, record=record_of(len(IMAGES), configuration={"images": "/moved"}))
    assert committed_ids(again) == [image.image_id for image in IMAGES[:2]]
    assert again.record.shard_size == 2, "the shards of the first driver stay"
    assert again.record.started_s == 1000.0
    assert run_json(store)["resumed"] == 1
    assert run_json(store)["configuration"] == {"images": "/moved"}


def test_resume_starts_a_run_where_there_is_none(store: LocalStore) -> None:
    assert begin_run(store, resume=True, record=record_of(len(IMAGES))).log.image_count == 0


def test_a_run_that_is_gone_on_with_is_not_complete(store: LocalStore) -> None:
    finish_run(begin_run(store, resume=False, record=record_of(len(IMAGES))))
    assert "_SUCCESS" in store.names("")
    begin_run(store, resume=True, record=record_of(len(IMAGES)))
    assert "_SUCCESS" not in store.names("")


def test_a_run_is_not_begun_twice(store: LocalStore) -> None:
    begin_run(store, resume=False, record=record_of(len(IMAGES)))
    with pytest.raises(ConfigurationError, match="holds a run already; add --resume"):
        begin_run(store, resume=False, record=record_of(len(IMAGES)))
    with pytest.raises(ConfigurationError, match="holds a run already; add --resume"):
        check_folder(store, resume=False)
    check_folder(store, resume=True)


@pytest.mark.parametrize("entry", ["photo.jpg", "images/", "labels/", "commits.jsonl"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_with_anything_else_in_it_is_refused_and_left_alone(
    entry: str, resume: bool, store: LocalStore
) -> None:
    path = store.folder / entry
    if entry.endswith("/"):
        path.mkdir()
    else:
        path.write_bytes(b"")
    for refused in (
        lambda: check_folder(store, resume=resume),
        lambda: begin_run(store, resume=resume, record=record_of(len(IMAGES))),
    ):
        with pytest.raises(
            ConfigurationError, match=f"must be empty or a run, and it holds '{entry.rstrip('/')}'"
        ):
            refused()
    assert store.entries() == [entry.rstrip("/")]


def test_hidden_files_and_a_dead_drivers_lock_do_not_count(store: LocalStore) -> None:
    (store.folder / ".directory").write_bytes(b"")
    (store.folder / "run.lock").write_bytes(b"")
    begin_run(store, resume=False, record=record_of(len(IMAGES)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is damaged"),
        (b"", "is damaged"),
        (b"[]", "is damaged"),
        (b"\xff", "is damaged"),
        (b'{"schema_version": 99}', "schema_version must be 1, got 99"),
        (b"[" * 100_000, "is damaged"),
        (b'{"schema_version": 1}', r"run\.json' is damaged: started_s: Field required"),
        (whole(image_count="many"), r"run\.json' is damaged: image_count: Input should be a valid integer"),
        (whole(image_count=-1), "image_count: .* greater than or equal to 0"),
        (whole(started_s=float("nan")), "started_s: .* finite number"),
        (whole(fingerprint={"conf": 0.5}), r"fingerprint\.iou: Field required"),
        (whole(configuration={}), "configuration: .* images must say where the images are"),
        (whole(spec={"name": "x"}), r"spec\.file_sha256: Field required"),
    ],
)
def test_a_run_json_that_cannot_be_trusted(content: bytes, message: str, store: LocalStore) -> None:
    store.write("run.json", content)
    with pytest.raises(RunError, match=message):
        begin_run(store, resume=True, record=record_of(len(IMAGES)))
    with pytest.raises(RunError, match=message):
        open_run(store.place)


def test_open_run_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"RUN: must be the folder of a run, and .* is not there"):
        open_run(str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(ConfigurationError, match=r"holds no run\.json"):
        open_run(str(tmp_path))


@pytest.mark.parametrize("damage", [{"stop": 5}, {"stem": "x"}, None], ids=str)
def test_a_finished_run_whose_record_was_damaged_is_not_read_as_if_whole(
    damage: dict[str, Any] | None, store: LocalStore
) -> None:
    run = begin_run(store, resume=False, record=record_of(len(IMAGES)))
    commit_all(run.log, IMAGES, [Shard(0, 4), Shard(4, 6)])
    finish_run(run)
    assert open_run(store.place).log.image_count == 6
    first, last = store.commits()
    store.retain_commits([first] if damage is None else [first, {**last, **damage}])
    with pytest.raises(RunError, match=r"6 images must be committed, got 4 .* --resume` detects again"):
        open_run(store.place)
    again = begin_run(store, resume=True, record=record_of(len(IMAGES)))
    assert committed_ids(again) == [image.image_id for image in IMAGES[:4]]


def test_another_fingerprint_is_refused_with_every_difference(store: LocalStore) -> None:
    begin_run(store, resume=False, record=record_of(len(IMAGES), model="aaa", images="6 images"))
    with pytest.raises(RunError) as caught:
        begin_run(store, resume=True, record=record_of(len(IMAGES), model="bbb", images="7 images", conf=0.5))
    message = str(caught.value)
    assert "conf was 0.001 and is now 0.5" in message
    assert "model was aaa and is now bbb" in message
    assert "images was 6 images and is now 7 images" in message
    assert "class-names" not in message
