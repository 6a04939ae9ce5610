"""What `raysail detect` refuses before Ray starts, in one line, and without touching a file."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import ray

from bmodel.errors import ConfigurationError, LibraryError, ModelFileError, RaysailError, RunError
from jobs.config.detect_config import parse_config
from jobs.detect import detect
from jobs.run.folder import begin_run
from jobs.run.store import LocalStore
from tests.helpers.job_runs import TINY_BMODEL, TINY_ONNX, write_pictures
from tests.helpers.run_rows import record_of


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("photos"), 4)


@pytest.fixture(autouse=True)
def no_cluster_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def refusal(kind: type[RaysailError], photos: Path, run: Path, **options: Any) -> str:
    values: dict[str, Any] = {"images": str(photos), "model": str(TINY_ONNX), "output": str(run)}
    values.update({name.replace("_", "-"): str(value) for name, value in options.items()})
    with pytest.raises(kind) as caught:
        detect(parse_config(values))
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert not ray.is_initialized()
    return str(caught.value)


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def truth_json(path: Path, **change: Any) -> Path:
    names = json.loads(TINY_ONNX.with_name("tiny.onnx.spec.json").read_text())["class_names"]
    document: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a/0000.jpg", "height": 72, "width": 96}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 0, "bbox": [1, 2, 3, 4], "area": 12}],
    }
    return written(path, json.dumps({**document, **change}))


def test_images_that_are_not_there(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert "is not there" in refusal(ConfigurationError, photos, run, images=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "at least one image" in refusal(ConfigurationError, photos, run, images=tmp_path / "empty")
    assert not run.exists()


def test_images_whose_label_files_can_have_no_name(photos: Path, tmp_path: Path) -> None:
    for suffix in ("jpg", "png"):
        written(tmp_path / f"{'A' * 251}.{suffix}", b"")
    message = refusal(ConfigurationError, photos, tmp_path / "run", images=tmp_path)
    assert "must have at most 255 bytes" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no onnx", "broken.onnx"), (b"", "broken.onnx")],
)
def test_a_damaged_model(content: bytes, message: str, photos: Path, tmp_path: Path) -> None:
    model = written(tmp_path / "broken.onnx", content)
    assert message in refusal(ModelFileError, photos, tmp_path / "run", model=model)
    bmodel = written(tmp_path / "broken.bmodel", TINY_BMODEL.read_bytes()[:-100])
    refusal(ModelFileError, photos, tmp_path / "run", model=bmodel)
    assert not (tmp_path / "run").exists()


def test_class_names_must_fit_the_model(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for content, message in (
        ("only one\n", "class"),
        ("", "must hold one name per line"),
        ("a\nb\na\n", "none of them twice"),
        (b"\xff\xfe\x00", "cannot read"),
    ):
        names = written(tmp_path / "names.txt", content)
        assert message in refusal(ConfigurationError, photos, run, class_names=names)


def test_anchors_must_be_known_or_a_file(photos: Path, tmp_path: Path) -> None:
    assert "yolov9" in refusal(ConfigurationError, photos, tmp_path / "run", anchors="yolov9")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (ConfigurationError, {"device": "sail"}, "'sail' needs a card, and none was found"),
        (ConfigurationError, {"device": "libbmrt", "model": TINY_BMODEL}, "needs a card"),
        (ConfigurationError, {"device": "simulator"}, "runs BModels only"),
        (
            ConfigurationError,
            {"device": "cpu", "model": TINY_BMODEL.with_name("tiny_int8_1b.bmodel")},
            "its ONNX twin is FP32",
        ),
        (
            ConfigurationError,
            {"device": "auto", "model": TINY_BMODEL.with_name("tiny_int8_1b.bmodel")},
            "its ONNX twin is FP32",
        ),
    ],
)
def test_a_device_that_cannot_run_the_model(
    kind: type[RaysailError], options: dict[str, Any], message: str, photos: Path, tmp_path: Path
) -> None:
    assert message in refusal(kind, photos, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_the_simulator_without_its_libraries(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSAIL_LIBRARIES", str(tmp_path))
    message = refusal(LibraryError, photos, tmp_path / "run", device="simulator", model=TINY_BMODEL)
    assert "libcmodel_bm1684.so" in message


def test_truth_that_is_not_there_or_not_about_these_images(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    missing = refusal(ConfigurationError, photos, run, ground_truth=tmp_path / "nowhere")
    assert "--ground-truth: must be a COCO JSON or a folder of labels" in missing
    assert "is not there" in refusal(ConfigurationError, photos, run, ground_truth=tmp_path / "nowhere.json")
    other = truth_json(
        tmp_path / "other.json", images=[{"id": 1, "file_name": "z.jpg", "height": 9, "width": 9}]
    )
    assert "must be names like 'a/0000.jpg'" in refusal(ConfigurationError, photos, run, ground_truth=other)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(ConfigurationError, photos, run, ground_truth=tmp_path / "pipe")
    assert not run.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels/a/0000.txt", "99 0.5 0.5 0.1 0.1\n", "0000.txt"),
        ("labels/a/0000.txt", "0 0.5 0.5\n", "0000.txt"),
        ("labels/a/0000.txt", "0 0.5 nan 0.1 0.1\n", "0000.txt"),
        ("labels/z/9999.txt", "0 0.5 0.5 0.1 0.1\n", "9999.txt"),
        ("labels/a/0000.txt", b"\xff\xfe", "0000.txt"),
    ],
)
def test_labels_that_cannot_be_right_are_named_with_their_file(
    name: str, content: str | bytes, message: str, photos: Path, tmp_path: Path
) -> None:
    written(tmp_path / name, content)
    said = refusal(ConfigurationError, photos, tmp_path / "run", ground_truth=tmp_path / "labels")
    assert said.startswith("--ground-truth: ")
    assert message in said
    assert not (tmp_path / "run").exists()


def test_truth_with_classes_that_the_model_does_not_know(photos: Path, tmp_path: Path) -> None:
    truth = truth_json(tmp_path / "truth.json", categories=[{"id": 0, "name": "zebra crossing"}])
    assert "zebra crossing" in refusal(ConfigurationError, photos, tmp_path / "run", ground_truth=truth)


def test_a_good_truth_gets_past_all_this(photos: Path, tmp_path: Path) -> None:
    """The refusals above are about the truth: with a good one the next thing is what is wrong."""
    truth = truth_json(tmp_path / "truth.json")
    taken = written(tmp_path / "taken", "")
    message = refusal(ConfigurationError, photos, taken, ground_truth=truth)
    assert "--output: must be a folder" in message


def test_places_where_no_run_may_go(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "set" / "labels").mkdir(parents=True)
    mine = written(tmp_path / "set" / "labels" / "a.txt", "0 0.5 0.5 0.1 0.1\n")
    message = refusal(ConfigurationError, photos, tmp_path / "set")
    assert "must be empty or a run, and it holds 'labels'" in message
    assert mine.read_text() == "0 0.5 0.5 0.1 0.1\n"
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["labels"], "not even a lock"


def test_a_run_that_is_there_is_not_begun_again(photos: Path, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "run")
    begin_run(store, resume=False, record=record_of(4))
    before = {path: path.read_bytes() for path in store.folder.iterdir()}
    assert "add --resume" in refusal(ConfigurationError, photos, store.folder)
    assert {path: path.read_bytes() for path in store.folder.iterdir()} == before


def test_resuming_another_run_names_what_differs(photos: Path, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "run")
    begin_run(store, resume=False, record=record_of(4))
    values = {"images": str(photos), "model": str(TINY_ONNX), "output": store.place, "resume": True}
    with pytest.raises(RunError) as caught:
        detect(parse_config(values))
    assert "images was 4 images, list 0000" in str(caught.value)
    assert not ray.is_initialized()


def test_a_cluster_that_nobody_answers_at(photos: Path, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    message = refusal(ConfigurationError, photos, tmp_path / "run", address=f"127.0.0.1:{port}")
    assert message.startswith("--address: ")
    assert f"127.0.0.1:{port}" in message
