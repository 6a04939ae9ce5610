"""A card that another program has open: the job shares it, and says so in its progress, its files and its errors.

SAIL's stand-in is the card; its device file lies in a folder of the test's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.job_runs import TINY_BMODEL, assert_each_once, metrics
from tests.helpers.other_process import OPEN, another_process
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S

JOB = """
import sys
from pathlib import Path
from cluster.cards.card_slots import CardSlot, card_resources
from cluster.connect import connected, nothing_on_stdout
from cluster.cards.job_cards import JobCards
from cluster.pool.worker import CardWorker, WorkerSettings
from jobs.config.detect_config import parse_config
from jobs.derive import derive
from jobs.detect import _detect_images
from jobs.inputs.images import list_images
from jobs.inputs.resolve import load_model, resolve_job
from jobs.run.record import new_record
from jobs.run.folder import begin_run
from jobs.run.store import open_store
from jobs.console.stop_signals import stoppable

images, model, output, devices = sys.argv[1:]

class WorkerOfFolder(CardWorker):
    def __init__(self, slot, settings):
        super().__init__(slot, settings, device_folder=Path(devices))

config = parse_config({"images": images, "model": model, "device": "sail", "output": output, "limit": 5})
found = list_images(config.images, limit=config.limit)
job = resolve_job(config, load_model(config), cards_of_cluster=None)
run = begin_run(open_store(output), resume=False, record=new_record(config, found, device=job.device.name, ran=job.ran, spec=job.spec))
cards = JobCards(most=None, needs_real=True, of_host=job.cards_of_host)
with stoppable() as stop, nothing_on_stdout(), connected(None, local_resources=cards.local_resources()):
    slots = _detect_images(config, job, found, run, cards, stop, WorkerOfFolder).slots
    derive(config, job, run, slots, detect_s=1.0)
"""
REFUSED = """
import sys
from pathlib import Path
from tests.device.cases import Case
from cluster.cards.card_slots import CardSlot
from cluster.pool.worker import CardWorker, WorkerSettings
from tpu_worker.detector import DetectOptions

from sophon import sail
sail.stand_in.errors["Engine"] = sail.SailDeviceError("init device failure")
case = Case(name="sail", model="tiny_fp32_1b")
slot = CardSlot(node_id="0" * 8, host="here", device_id=0)
settings = WorkerSettings(device=case.options, detect=DetectOptions())
try:
    CardWorker(slot, settings, device_folder=Path(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""


def in_a_process(program: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    folder = tmp_path / "dev"
    folder.mkdir()
    (folder / "bm-sophon0").touch()
    (folder / "bmdev-ctl").touch()
    return folder


@pytest.mark.simulator
def test_another_programs_share_of_a_card_is_told_and_kept(
    sail_stand_in: dict[str, str], pictures: Path, devices: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with another_process(OPEN, devices / "bm-sophon0") as other, another_process(OPEN, devices / "bmdev-ctl"):
        name = Path(f"/proc/{other.pid}/comm").read_text().strip()
        done = in_a_process(JOB, pictures, TINY_BMODEL, run, devices, **sail_stand_in)
    assert done.returncode == 0, done.stderr
    assert_each_once(run, 5)
    user = f"process {other.pid} ({name})"
    assert done.stderr.count(f" is also used by {user}: its times may suffer") == 1, done.stderr
    [worker] = json.loads((run / "run.json").read_text(encoding="utf-8"))["workers"]
    assert worker["other_users"] == [user]
    [card] = metrics(run)["cards"]
    assert card["other_users"] == [user]
    assert f"was also used by {user}" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.simulator
def test_a_card_of_ones_own_is_not_spoken_of(
    sail_stand_in: dict[str, str], pictures: Path, devices: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with another_process(OPEN, devices / "bmdev-ctl"):
        done = in_a_process(JOB, pictures, TINY_BMODEL, run, devices, **sail_stand_in)
    assert done.returncode == 0, done.stderr
    assert "is also used" not in done.stderr
    [card] = metrics(run)["cards"]
    assert card["other_users"] == []


@pytest.mark.simulator
def test_a_card_that_cannot_be_opened_names_who_has_it(sail_stand_in: dict[str, str], devices: Path) -> None:
    with another_process(OPEN, devices / "bm-sophon0") as other:
        done = in_a_process(REFUSED, devices, **sail_stand_in)
    assert done.stdout.startswith("DeviceError card 0 with "), done.stderr
    assert "SailDeviceError: init device failure" in done.stdout
    assert f"the card is also used by process {other.pid} (" in done.stdout
    alone = in_a_process(REFUSED, devices, **sail_stand_in)
    assert alone.stdout.startswith("DeviceError card 0 with "), alone.stderr
    assert "also used" not in alone.stdout
