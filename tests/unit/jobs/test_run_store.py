"""A run's files in a folder: whole or not at all, appended without spoiling what stands, foreign ones untouched."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bmodel.errors import ConfigurationError, RunError
from jobs.run.store import LocalStore, open_store
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "run")


def test_files_are_written_read_listed_and_removed(store: LocalStore) -> None:
    store.write("images/b.parquet", b"2")
    store.write("images/a.parquet", b"1")
    store.write("images/a.parquet", b"3")
    (store.folder / "images" / ".hidden").write_bytes(b"")
    (store.folder / "images" / "folder").mkdir()
    assert store.names("images") == ["a.parquet", "b.parquet"]
    assert store.names("nowhere") == []
    assert store.read("images/a.parquet") == b"3"
    store.remove("images/a.parquet")
    assert store.names("images") == ["b.parquet"]
    assert store.entries() == ["images"]
    with pytest.raises(FileNotFoundError):
        store.read("images/a.parquet")
    store.remove("images/a.parquet")
    with pytest.raises(RunError, match="cannot remove"):
        store.remove("images")


def test_no_temporary_file_is_left(store: LocalStore) -> None:
    for number in range(5):
        store.write("run.json", b"x" * number)
    assert [path.name for path in store.folder.iterdir()] == ["run.json"]


def test_what_a_killed_driver_left_half_written_is_removed(store: LocalStore) -> None:
    for folder in ("images", "detections", "labels", "."):
        path = store.folder / folder / ".part.parquet.1234.tmp"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    store.append_commit({"stem": "a"}, "a")
    with (store.folder / "commits.jsonl").open("ab") as file:
        file.write(b'{"stem": "b"')
    store.remove_unfinished()
    assert [path.parent.name for path in store.folder.rglob("*.tmp")] == ["labels"]
    store.append_commit({"stem": "c"}, "c")
    assert store.commits() == [{"stem": "a"}, {"stem": "c"}]


@pytest.mark.parametrize("line", [b"{", b"\xff\xfe", b"[1]", b"3", b"null", b""])
def test_a_damaged_line_is_no_commit_and_spoils_no_other(line: bytes, store: LocalStore) -> None:
    store.append_commit({"stem": "a"}, "a")
    with (store.folder / "commits.jsonl").open("ab") as file:
        file.write(line + b"\n")
    store.append_commit({"stem": "b"}, "b")
    assert store.commits() == [{"stem": "a"}, {"stem": "b"}]


def test_commits_can_be_replaced_by_some_of_them(store: LocalStore) -> None:
    assert store.commits() == []
    for stem in "abc":
        store.append_commit({"stem": stem}, stem)
    store.retain_commits([{"stem": "b"}])
    store.append_commit({"stem": "d"}, "d")
    assert store.commits() == [{"stem": "b"}, {"stem": "d"}]


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(store: LocalStore) -> None:
    """The kernel's limit on the size of a file cuts the line as a full disk does."""
    store.append_commit({"stem": "a", "filler": "x" * 100}, "a")
    size = (store.folder / "commits.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, before[1]))
    try:
        with pytest.raises(RunError, match="cannot append to"):
            store.append_commit({"stem": "b", "filler": "y" * 100}, "b")
        with pytest.raises(RunError, match="cannot write"):
            store.write("images/a.parquet", b"z" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (store.folder / "commits.jsonl").stat().st_size == size
    assert list((store.folder / "images").iterdir()) == []
    store.append_commit({"stem": "c"}, "c")
    assert [record["stem"] for record in store.commits()] == ["a", "c"]


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "a" / "b"))
    assert isinstance(store, LocalStore)
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/run")
    assert isinstance(store, LocalStore)
    assert store.folder == tmp_path / "run"


def test_places_that_cannot_hold_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for output, message in (
        (f"{tmp_path}/file", "must be a folder, and '.*/file' is a file"),
        (f"{tmp_path}/file/run", "cannot make the folder .*: Not a directory"),
        ("x" * 300, "cannot make the folder .*: File name too long"),
        ("a\0b", "cannot make the folder"),
        ("nonsense://bucket/run", "cannot use 'nonsense://bucket/run'"),
    ):
        with pytest.raises(ConfigurationError, match=f"^--output: {message}"):
            open_store(output)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """As a user who is not root: root may write everywhere."""
    reachable = [tmp_path, *tmp_path.parents]
    for parent in (path for path in reachable if str(path).startswith("/tmp/")):
        parent.chmod(parent.stat().st_mode | 0o055)
    (tmp_path / "theirs").mkdir(mode=0o755)
    (tmp_path / "secret").mkdir(mode=0o700)
    code = (
        "import os, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from jobs.run.lock import run_lock\n"
        "from jobs.run.store import open_store\n"
        "from bmodel.errors import ConfigurationError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "for name in ('theirs', 'theirs/run', 'secret'):\n"
        "    try:\n"
        "        with run_lock(open_store(f'{sys.argv[2]}/{name}')): print('taken')\n"
        "    except ConfigurationError as error: print(error)\n"
    )
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), str(tmp_path)], capture_output=True, text=True, timeout=HANG_S
    )
    assert done.stdout.splitlines() == [
        f"--output: cannot write into '{tmp_path}/theirs': Permission denied",
        f"--output: cannot make the folder '{tmp_path}/theirs/run': Permission denied",
        f"--output: '{tmp_path}/secret' cannot be read by this user",
    ], done.stderr
