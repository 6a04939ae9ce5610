"""`raysail doctor` on hosts made up of real files: what it finds, what it advises, and its exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bmodel.errors import LibraryError, RunError
from bmodel.libraries import SIMULATOR_SHA256, find_simulator_libraries
from cluster.cluster_status import ClusterStatus
from jobs.doctor.cluster_checks import (
    check_cards,
    check_cluster,
    check_driver,
    check_model,
    check_sail,
    describe,
    sail_builds,
)
from jobs.doctor.host_checks import (
    NEWEST_PYTHON,
    OLDEST_PYTHON,
    Check,
    check_disks,
    check_python,
    check_simulator,
    check_toolchain,
    run_checks,
)
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tpu_worker.devices.choose_device import has_sail

MODEL = ROOT / "bmodel/tiny_fp32_1b.bmodel"


def doctor(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, (environment.pop("extra_path", ""), str(ROOT))))
    return subprocess.run(
        [sys.executable, "-m", "jobs.command_line", "doctor", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def by_name(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def one(checks: Iterator[Check]) -> Check:
    [check] = checks
    return check


def test_a_host_without_a_card_is_in_order_with_notes() -> None:
    if any(Path("/dev").glob("bm-sophon*")):
        pytest.skip("this host has a card")
    done = doctor("--model", str(MODEL))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^cards +note  none", done.stdout, re.MULTILINE)
    assert re.search(r"^packages +ok ", done.stdout, re.MULTILINE)
    assert re.search(r"^model +ok ", done.stdout, re.MULTILINE)
    assert re.search(r"\d+ checks: 0 failed, [1-9]\d* with a note\.\n$", done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stderr == ""


def test_one_failure_decides_the_exit_code_and_json_says_the_same(tmp_path: Path) -> None:
    broken = tmp_path / "broken.bmodel"
    broken.write_bytes(MODEL.read_bytes()[:9000])
    done = doctor("--json", "--model", str(broken), "--address", "127.0.0.1:9")
    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False
    checks = by_name(done)
    assert checks["model"]["status"] == "fail"
    assert "cut off" in checks["model"]["found"]
    assert checks["Ray cluster"]["status"] == "fail"
    assert "nothing answers" in checks["Ray cluster"]["found"]
    assert "raysail node start --head" in checks["Ray cluster"]["hint"]
    assert checks["Python"]["status"] == "ok"


@pytest.mark.parametrize("package", ["data", "models", "cluster"])
def test_another_distributions_package_of_that_name_is_named(package: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    done = doctor("--json", folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    found = by_name(done)["packages"]
    assert found["status"] == "fail"
    assert f"{package} from '{tmp_path / package}'" in found["found"]
    assert "environment of its own" in found["hint"]


@pytest.mark.parametrize("line", ["cluster/__init__.py", "data.py"])
def test_a_distribution_whose_names_clash_is_noticed_before_it_does_harm(line: str, tmp_path: Path) -> None:
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n", encoding="utf-8")
    (info / "RECORD").write_text(f"{line},,\nstranger-1.0.dist-info/METADATA,,\n", encoding="utf-8")
    checks = by_name(doctor("--json", PYTHONPATH=os.pathsep.join([str(ROOT), str(tmp_path)])))
    assert checks["packages"]["status"] == "note"
    assert "uninstall stranger" in checks["packages"]["hint"]


def test_the_supported_pythons_are_those_of_the_distribution() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest, newest = OLDEST_PYTHON[1], NEWEST_PYTHON[1]
    assert f'requires-python = ">=3.{oldest},<3.{newest + 1}"' in text
    python, libraries = check_python()
    assert (python.status, libraries.status) == ("ok", "ok")
    assert re.search(r"ray \d+\.\d+", libraries.found)


def test_a_missing_folder_is_judged_by_the_disk_it_would_lie_on(tmp_path: Path) -> None:
    check = one(check_disks({"cache": tmp_path / "not" / "yet"}))
    assert "GB free" in check.found
    assert check.name == "disk, cache"


def test_device_files_without_a_working_driver_fail(tmp_path: Path) -> None:
    assert one(check_cards(tmp_path)).status == "note"
    (tmp_path / "bm-sophon0").touch()
    (tmp_path / "bm-sophon2").touch()
    if has_sail():
        pytest.skip("here SAIL tells of the cards, whatever files there are")
    cards, *states = check_cards(tmp_path)
    assert (cards.status, cards.found) == ("ok", "0, 2, found by device files")
    assert [(state.name, state.status) for state in states] == [
        ("card 0 state", "note"),
        ("card 2 state", "note"),
    ]


def test_a_card_without_libsophon_fails_and_no_card_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSAIL_LIBSOPHON", str(tmp_path))
    version_file = tmp_path / "driver_version"
    assert [check.status for check in check_driver(version_file, tmp_path)] == ["note", "note"]
    (tmp_path / "bm-sophon0").touch()
    version_file.write_text("release version:0.5.0   release date: 20240304-175610\n", encoding="utf-8")
    driver, libsophon = check_driver(version_file, tmp_path)
    assert driver.found == "release version:0.5.0 release date: 20240304-175610"
    assert (libsophon.status, "RAYSAIL_LIBSOPHON" in libsophon.hint) == ("fail", True)
    for name in ("libbmlib.so", "libbmrt.so.1.0"):
        (tmp_path / name).touch()
    assert [check.status for check in check_driver(version_file, tmp_path)] == ["ok", "ok"]


def test_sail_for_another_python_is_named_with_the_wheels_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_sail():
        pytest.skip("this Python has SAIL")
    assert "wheels for Python 3.8 and 3.10" in one(check_sail(tmp_path)).hint
    package = tmp_path / "sophon"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sail.cpython-38-x86_64-linux-gnu.so").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert sail_builds() == ["cpython-38-x86_64-linux-gnu"]
    assert "only cpython-38-x86_64-linux-gnu" in one(check_sail(tmp_path)).found


def test_a_wheel_of_sail_that_does_not_load_fails(tmp_path: Path) -> None:
    (tmp_path / "sophon").mkdir()
    (tmp_path / "sophon" / "__init__.py").touch()
    # pip takes SAIL's wheel for any Python; what it holds is then no module of this one.
    (tmp_path / "sophon" / "sail.so").write_bytes(b"not for this Python")
    done = doctor("--json", extra_path=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    check = by_name(done)["SAIL"]
    assert check["status"] == "fail"
    assert "SAIL cannot be loaded in this Python" in check["found"]
    assert "built for another Python" in check["hint"]


@pytest.mark.simulator
def test_a_card_that_sail_knows_is_shown_with_its_state() -> None:
    try:
        libraries = find_simulator_libraries()
    except LibraryError as error:
        pytest.skip(str(error))
    if has_sail():
        pytest.skip("this Python has SAIL: it would answer in the stand-in's place")
    done = doctor(
        "--json", extra_path=str(ROOT / "tests/fakes"), RAYSAIL_LIBRARIES=str(libraries.runtime.parent)
    )
    checks = by_name(done)
    assert checks["cards"]["found"] == "0, found by sail"
    assert checks["card 0 state"]["status"] == "ok"
    assert "chip 52 °C, board 41 °C, 310 of 12288 MB used, 77 % busy" in checks["card 0 state"]["found"]


def test_a_model_for_another_chip_fails(tmp_path: Path) -> None:
    data = MODEL.read_bytes()
    assert data.count(b"BM1684\0") == 1
    other = tmp_path / "other.bmodel"
    other.write_bytes(data.replace(b"BM1684\0", b"BM1999\0"))
    check = one(check_model(other))
    assert check.status == "fail"
    assert "BM1999" in check.found
    assert check.hint


def test_a_model_without_a_sidecar_has_a_note(tmp_path: Path) -> None:
    bare = tmp_path / "bare.bmodel"
    bare.write_bytes(MODEL.read_bytes())
    assert one(check_model(MODEL)).status == "ok"
    check = one(check_model(bare))
    assert (check.status, "no sidecar" in check.hint) == ("note", True)
    assert "needs --anchors yolov5, yolov7 or a file" in check.found


def test_libraries_of_the_simulator_that_are_missing_or_others_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSAIL_LIBRARIES", str(tmp_path))
    machine, simulator = check_simulator()
    assert (machine.status, simulator.status) == ("ok", "fail")
    assert "correct RAYSAIL_LIBRARIES" in simulator.hint
    for name in SIMULATOR_SHA256:
        (tmp_path / name).write_bytes(b"no library")
    _, simulator = check_simulator()
    assert simulator.status == "note"
    assert all(name in simulator.found for name in SIMULATOR_SHA256)


def test_a_compiler_that_is_not_there_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSAIL_CACHE", str(tmp_path))
    check = one(check_toolchain())
    assert (check.status, "raysail toolchain install" in check.hint) == ("note", True)


def test_no_cluster_is_a_note_and_a_bad_address_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert one(check_cluster(None)).status == "note"
    monkeypatch.setenv("RAY_ADDRESS", "head")
    assert "must be HOST:PORT" in one(check_cluster(None)).found


def test_a_cluster_that_lets_in_everybody_or_runs_another_ray_fails() -> None:
    def look(**changes: object) -> ClusterStatus:
        values = {"nodes": 2, "real_cards": 4, "virtual_cards": 0, "ray_version": "", "python_version": ""}
        return ClusterStatus(**{"wants_token": True, **values, **changes})  # type: ignore[arg-type]

    assert [check.status for check in describe("h:1", look())] == ["ok", "ok"]
    assert [check.status for check in describe("h:1", look(wants_token=False))] == ["ok", "fail"]
    cluster, _ = describe("h:1", look(ray_version="1.0"))
    assert (cluster.status, "Ray 1.0 there" in cluster.hint) == ("fail", True)


def test_a_check_that_breaks_has_failed_and_stops_no_other() -> None:
    def breaks() -> Iterator[Check]:
        yield Check(name="first", status="ok", found="fine")
        raise RunError("the disk\nis gone")

    checks = run_checks([("broken", breaks), ("next", lambda: [Check(name="next", status="ok", found="x")])])
    assert [(check.name, check.status) for check in checks] == [
        ("first", "ok"),
        ("broken", "fail"),
        ("next", "ok"),
    ]
    assert checks[1].found == "RunError: the disk is gone"
    with pytest.raises(ValueError, match="must have a hint"):
        Check(name="x", status="fail", found="y")
