"""A card's state through libsophon's C interface, a small C library with the vendor's declarations in its place."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bmodel.errors import DeviceError, LibraryError
from cluster.cards.isolated_query import read_card, read_card_isolated
from cluster.health.card_health import sample_card
from jobs.doctor.cluster_checks import check_cards
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tpu_worker.devices.choose_device import has_sail
from tpu_worker.devices.libsophon import card_count, read_health
from tpu_worker.devices.sail import CardHealth

LIBRARY = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct heap { unsigned int total, avail, used; };
struct stat { int mem_total, mem_used, tpu_util, heap_num; struct heap heaps[4]; };
int cards = 2, opened = 0, failing = 0, status = 2;
__attribute__((constructor)) static void of_environment(void) {
    if (getenv("FAILING")) failing = atoi(getenv("FAILING"));
    if (getenv("STATUS")) status = atoi(getenv("STATUS"));
}
static int answer(int number) {
    if (failing == number) fprintf(stderr, "call %d broke\n", number);
    return failing == number ? status : 0;
}
int bm_dev_getcount(int *count) { *count = cards; return answer(1); }
int bm_dev_request(void **handle, int number) {
    if (answer(2)) return status;
    opened++;
    *handle = (void *)(0x7f0000000000L + number);
    return 0;
}
void bm_dev_free(void *handle) { if ((long)handle >> 40 == 0x7f) opened--; }
int bm_get_chip_temp(void *handle, unsigned int *celsius) { *celsius = 61 + ((long)handle & 15); return answer(3); }
int bm_get_board_temp(void *handle, unsigned int *celsius) { *celsius = 47; return answer(4); }
#ifndef OLD
int bm_get_stat(void *handle, struct stat *found) {
    struct stat all = {10240, 1310, 83, 3, {{4096, 4000, 96}, {3072, 3000, 72}, {3072, 3000, 72}, {1, 2, 3}}};
    memcpy(found, &all, sizeof all);
    return answer(5);
}
#endif
"""
HEALTH = CardHealth(
    chip_temperature_c=61,
    board_temperature_c=47,
    memory_total_mb=10240,
    memory_used_mb=1310,
    utilisation_percent=83,
)


def build(folder: Path, *flags: str) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    source = folder / "library.c"
    source.write_text(LIBRARY, encoding="utf-8")
    target = folder / "libbmlib.so.0"
    subprocess.run([compiler, "-shared", "-fPIC", *flags, "-o", str(target), str(source)], check=True)
    (folder / "libbmrt.so").touch()


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ctypes.CDLL]:
    """What stands for libsophon; its variables steer it."""
    build(tmp_path)
    monkeypatch.setenv("RAYSAIL_LIBSOPHON", str(tmp_path))
    loaded = ctypes.CDLL(str(tmp_path / "libbmlib.so.0"))
    yield loaded
    assert ctypes.c_int.in_dll(loaded, "opened").value == 0, "a card stays open"


def steer(library: ctypes.CDLL, **values: int) -> None:
    for name, value in values.items():
        ctypes.c_int.in_dll(library, name).value = value


def test_cards_are_counted_unless_the_library_cannot(library: ctypes.CDLL) -> None:
    assert card_count() == 2
    steer(library, failing=1)
    assert card_count() is None


def test_a_cards_state_is_what_the_library_says_of_it(library: ctypes.CDLL) -> None:
    assert read_health(0) == HEALTH
    assert read_health(1).chip_temperature_c == 62


@pytest.mark.parametrize(
    ("failing", "call"),
    [
        (1, "bm_dev_getcount"),
        (2, "bm_dev_request"),
        (3, "bm_get_chip_temp"),
        (4, "bm_get_board_temp"),
        (5, "bm_get_stat"),
    ],
)
def test_a_call_that_fails_is_named_with_what_the_library_said(
    failing: int, call: str, library: ctypes.CDLL
) -> None:
    steer(library, failing=failing)
    with pytest.raises(DeviceError, match=rf"^card 1: .*{call} answered 2 \(call {failing} broke\)$"):
        read_health(1)


def test_what_a_library_does_not_support_is_no_fault_of_the_card(library: ctypes.CDLL) -> None:
    steer(library, failing=3, status=9)
    with pytest.raises(LibraryError, match="cannot tell its state: it has no bm_get_chip_temp"):
        read_health(0)


def test_a_card_that_is_not_there_is_not_opened(library: ctypes.CDLL) -> None:
    steer(library, cards=1, failing=2)  # opening it would be told
    with pytest.raises(DeviceError, match=r"card 1: there is no such card: there are 1"):
        read_health(1)


def test_another_version_and_a_broken_library_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSAIL_LIBSOPHON", str(tmp_path))
    build(tmp_path, "-DOLD")
    with pytest.raises(LibraryError, match=r"another version: .*bm_get_stat"):
        read_health(0)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("libbmlib.so.0", "libbmrt.so"):
        (other / name).write_bytes(b"no library")
    monkeypatch.setenv("RAYSAIL_LIBSOPHON", str(other))
    with pytest.raises(LibraryError, match="libsophon cannot be loaded"):
        read_health(0)


@pytest.mark.skipif(has_sail(), reason="here SAIL is asked first")
def test_without_sail_libsophon_is_asked(
    library: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_card(0) == HEALTH
    assert sample_card(0).health == read_card_isolated(0) == HEALTH
    cards, first, second = check_cards(tmp_path)
    assert cards.found == "0, 1, found by libsophon"
    assert (first.status, first.found) == (
        "ok",
        "chip 61 °C, board 47 °C, 1310 of 10240 MB used, 83 % busy",
    )
    assert second.found.startswith("chip 62 °C")
    # The doctor asks in other processes, each of which has the library to itself.
    monkeypatch.setenv("FAILING", "5")
    assert [check.status for check in check_cards(tmp_path)] == ["ok", "fail", "fail"]
    monkeypatch.setenv("FAILING", "3")
    monkeypatch.setenv("STATUS", "9")
    assert [check.status for check in check_cards(tmp_path)] == ["ok", "note", "note"]


PLAN = """
import json, sys
from bmodel.errors import RaysailError
from jobs.config.detect_config import parse_config
from jobs.inputs.resolve import load_model, resolve_job
for device in ("auto", "sail", "libbmrt"):
    config = parse_config({"images": ".", "model": "bmodel/tiny_fp32_1b.bmodel", "device": device, **json.loads(sys.argv[1])})
    try:
        job = resolve_job(config, load_model(config), cards_of_cluster=None)
        print(json.dumps([job.device.name, job.cards_of_host]))
    except RaysailError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


def plans(path: Path, **options: str) -> list[tuple[str, list[int]]]:
    """What becomes of each way to name a card's device, SAIL being whatever lies in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", PLAN, json.dumps(options)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(ROOT)]), "RAY_ADDRESS": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_S,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.usefixtures("library")
def test_a_sail_that_does_not_load_keeps_nobody_from_libbmrt(tmp_path: Path) -> None:
    package = tmp_path / "sophon"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sail.so").write_bytes(b"not for this Python")
    auto, by_sail, by_libbmrt = plans(tmp_path)
    assert by_libbmrt == ("libbmrt", [0, 1])
    for name, reason in (auto, by_sail):
        assert name == "LibraryError"
        assert str(reason).startswith("device: SAIL cannot be loaded in this Python: ")


@pytest.mark.skipif(has_sail(), reason="here SAIL is asked first")
@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("exclude", "outcome"),
    [
        ("0", ("libbmrt", [1])),
        ("1,1", ("libbmrt", [0])),
        (
            "0,1",
            ("ConfigurationError", "--exclude: must leave a card of this host, got 0,1, all it has"),
        ),
        (
            "1,2,7",
            (
                "ConfigurationError",
                "--exclude: must name cards of this host, got 2, 7; its cards are 0, 1, by libsophon",
            ),
        ),
    ],
)
def test_cards_are_left_out_of_a_job_of_this_host(
    exclude: str, outcome: tuple[str, object], tmp_path: Path
) -> None:
    auto, _, by_libbmrt = plans(tmp_path, exclude=exclude)
    assert auto == by_libbmrt == outcome


@pytest.mark.skipif(has_sail(), reason="here SAIL is asked first")
@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--exclude", "2"], "must name cards of this host, got 2; its cards are 0, 1, by libsophon"),
        (["--exclude", "first"], "must be card numbers with commas between, got 'first'"),
        (["--exclude", ""], "must be card numbers with commas between, got ''"),
        (
            ["--exclude", "0", "--virtual-cards", "2"],
            "applies to real cards, and --virtual-cards registers none",
        ),
    ],
)
def test_a_node_refuses_to_leave_out_what_is_not_there(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.command_line", "node", "start", "--head", *arguments],
        cwd=ROOT,
        env={**os.environ, "RAYSAIL_CACHE": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"raysail: --exclude: {said}\n")
