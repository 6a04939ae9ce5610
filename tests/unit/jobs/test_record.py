"""run.json as a type: what 0.1 wrote is read as it stands, and what changes is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from bmodel.errors import RunError
from bmodel.sidecar import ModelSpec
from jobs.config.detect_config import DetectConfig
from jobs.run.fingerprint import check_same, fingerprint
from jobs.run.folder import begin_run
from jobs.run.record import RunRecord, parse_record
from jobs.run.store import LocalStore
from tests.helpers.run_rows import record_of

RUN_0_1 = Path("tests/fixtures/run-0.1/run.json")


def test_the_record_of_0_1_is_read_and_written_with_nothing_lost() -> None:
    content = json.loads(RUN_0_1.read_bytes())
    record = parse_record(RUN_0_1.read_bytes(), str(RUN_0_1))
    assert (record.device, record.timing_device, record.shard_size, record.image_count) == (
        "cpu",
        "cpu",
        3,
        7,
    )
    assert record.ground_truth == "/photos/instances.json"
    assert record.spec.input_hw == (416, 416)
    assert [worker.pid for worker in record.workers] == [5419, 5418]
    written = json.loads(record.to_json())
    # Fields that came later are written with the defaults that an older record is read with.
    assert ModelSpec.model_validate(content["spec"]) == record.spec
    assert content["spec"].keys() <= written["spec"].keys()
    assert written == {**content, "on_simulator": False, "resumed": 0, "spec": written["spec"]}


def test_a_run_that_0_1_began_has_the_same_fingerprint_today() -> None:
    record = parse_record(RUN_0_1.read_bytes(), str(RUN_0_1))
    today = fingerprint(
        DetectConfig(images="/images", device="timed", service_ms=1.0),
        device="cpu",
        model_sha256=record.model.sha256,
        spec=record.spec,
        images_sha256="4bddf5dfb835519a",
        image_count=7,
    )
    check_same(record.fingerprint, today, "here")


@pytest.mark.parametrize(
    ("device", "on_simulator", "timing_device"),
    [("sail", False, "sail"), ("sail", True, "simulator"), ("cpu", False, "cpu")],
)
def test_the_simulators_times_are_not_a_cards(device: str, on_simulator: bool, timing_device: str) -> None:
    record = record_of(6, device=device).updated({"on_simulator": on_simulator})
    assert record.timing_device == timing_device


def test_what_changes_is_validated_and_written(tmp_path: Path) -> None:
    run = begin_run(LocalStore(tmp_path), resume=False, record=record_of(6))
    run.update(on_simulator=True, cards=("host/0",))
    read = parse_record(run.store.read("run.json"), "run.json")
    assert read == run.record
    assert (read.timing_device, read.device, read.cards) == ("simulator", "cpu", ("host/0",))
    with pytest.raises(ValidationError, match="shard_size"):
        run.update(shard_size=0)
    assert run.record == read


def test_a_record_of_another_version_is_refused() -> None:
    data = json.dumps({**json.loads(record_of(6).to_json()), "schema_version": 2}).encode()
    with pytest.raises(RunError, match=r"schema_version must be 1, got 2 in 'there/run\.json'"):
        parse_record(data, "there/run.json")
    with pytest.raises(ValidationError):
        RunRecord.model_validate(json.loads(data))
