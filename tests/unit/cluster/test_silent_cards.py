"""Cards whose driver hangs or kills who asks: they are named in a few seconds, and nothing else suffers from them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.job_runs import TINY_BMODEL, TINY_ONNX
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S, scaled_s

# SAIL as a host with four cards has it. The calls that hang do so in C and hold the interpreter, as SAIL's own may;
# each process that is caught writes its number into the folder.
SAIL = """
import ctypes, os, pathlib
__version__ = "3.10.7"

def hang():
    (pathlib.Path({folder!r}) / f"{{os.getpid()}}").touch()
    ctypes.PyDLL(None).pause()

if os.environ.get("DIES_AT_IMPORT"):
    ctypes.string_at(0)

def get_available_tpu_num():
    if os.environ.get("HANGS_AT_COUNTING"):
        hang()
    return 4

def get_dev_stat(device_id):
    if device_id in (1, 3):
        hang()
    if device_id == 2:
        ctypes.string_at(0)
    return [12288, 310, 77]

def get_chip_temp(device_id):
    return 52

def get_board_temp(device_id):
    return 41
"""
UNCOUNTED = "this host's cards cannot be counted: no answer within 4 s"


@pytest.fixture
def caught(tmp_path: Path) -> Path:
    """The folder where processes that hang leave their numbers; SAIL lies beside it."""
    folder = tmp_path / "caught"
    folder.mkdir()
    package = tmp_path / "sophon"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sail.py").write_text(SAIL.format(folder=str(folder)), encoding="utf-8")
    return folder


def start(caught: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(caught.parent), str(ROOT)]),
            "RAY_ADDRESS": "",
            "HOME": str(caught.parent),
            "RAYSAIL_CACHE": str(caught.parent / "cache"),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
        process.communicate()
    return process.returncode, out, err


def assert_gone(caught: Path, count: int) -> None:
    """So many processes hung, and none is left."""
    pids = [int(path.name) for path in caught.iterdir()]
    assert len(pids) == count
    deadline = time.monotonic() + HANG_S
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)


def test_the_doctor_names_cards_that_hang_or_kill_who_asks_and_goes_on(caught: Path) -> None:
    begun = time.monotonic()
    code, out, err = end(start(caught, "-m", "jobs.command_line", "doctor", "--json"))
    took_s = time.monotonic() - begun
    assert code == 1, out + err
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert checks["cards"]["found"] == "0, 1, 2, 3, found by sail"
    assert checks["SAIL"]["status"] == checks["card 0 state"]["status"] == "ok"
    assert "chip 52 °C" in checks["card 0 state"]["found"]
    for number, reason in (
        (1, "no answer within 4 s"),
        (2, "the query failed: it was ended by SIGSEGV"),
        (3, "no answer within 4 s"),
    ):
        check = checks[f"card {number} state"]
        assert check["status"] == "fail"
        assert check["found"] == f"card {number}: its state cannot be read: {reason}"
        assert "reload the driver" in check["hint"]
    assert_gone(caught, 2)
    # Starting takes its time on a busy machine; that the two are waited for together shows all the same.
    assert 4 < took_s < scaled_s(30)


def test_a_driver_that_hangs_at_counting_is_said_and_holds_up_nobody_else(
    caught: Path, tmp_path: Path
) -> None:
    images, run = tmp_path / "images", tmp_path / "run"
    images.mkdir()
    (images / "picture.jpg").touch()
    detect = ("detect", "--images", str(images), "--model", str(TINY_BMODEL), "--output", str(run))
    doctor, job, node = (
        start(caught, "-m", "jobs.command_line", *arguments, HANGS_AT_COUNTING="1")
        for arguments in (("doctor", "--json"), detect, ("node", "start", "--head"))
    )
    for process in (job, node):
        assert end(process) == (1, "", f"raysail: {UNCOUNTED}\n")
    assert not run.exists()
    code, out, _ = end(doctor)
    assert code == 1
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert (checks["cards"]["status"], checks["cards"]["found"].partition(" (")[0]) == ("fail", UNCOUNTED)
    assert "reload the driver" in checks["cards"]["hint"]
    assert checks["Ray cluster"]["status"] == "note"
    assert_gone(caught, 3)


def test_a_job_that_wants_no_card_asks_for_none(caught: Path) -> None:
    program = (
        "import sys; from jobs.config.detect_config import parse_config; from jobs.inputs.resolve import load_model, resolve_job\n"
        "config = parse_config({'images': 'x', 'model': sys.argv[1], 'device': 'cpu'})\n"
        "print(resolve_job(config, load_model(config), cards_of_cluster=None).device.name)"
    )
    assert end(start(caught, "-c", program, str(TINY_ONNX), HANGS_AT_COUNTING="1")) == (0, "cpu\n", "")
    assert_gone(caught, 0)


def test_a_sail_that_kills_who_loads_it_is_said_and_does_not_kill_the_doctor(caught: Path) -> None:
    code, out, err = end(start(caught, "-m", "jobs.command_line", "doctor", "--json", DIES_AT_IMPORT="1"))
    assert code == 1, out + err
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    for name in ("cards", "SAIL"):
        assert checks[name]["status"] == "fail"
        assert "it was ended by SIGSEGV" in checks[name]["found"]
        assert checks[name]["hint"]
