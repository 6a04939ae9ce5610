"""A build's folder appears whole or not at all, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bmodel.compiler.build_folder import building, failed_folder
from bmodel.errors import ToolError
from tests.helpers.paths import ROOT


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep/net"
    with building(target) as staging:
        (staging.folder / "x.bmodel").write_text("new")
        (staging.work / "scratch").write_text("gone")
        (staging.logs / "tool.log").write_text("said")
        assert not target.exists()
    assert _names(target) == {"x.bmodel", "logs"}
    assert _names(target.parent) == {"net"}
    assert (target / "logs/tool.log").read_text() == "said"


def test_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    target = tmp_path / "net"
    for content in ("old", "new"):
        with building(target) as staging:
            (staging.folder / content).write_text(content)
    assert _names(target) == {"new", "logs"}
    assert _names(tmp_path) == {"net"}


@pytest.mark.parametrize("kind", [ToolError, KeyboardInterrupt, SystemExit])
def test_a_failed_build_leaves_its_logs_and_the_older_build(
    tmp_path: Path, kind: type[BaseException]
) -> None:
    target = tmp_path / "net"
    with building(target) as staging:
        (staging.folder / "old").touch()
    with pytest.raises(kind), building(target) as staging:  # noqa: PT012 - the block is what is tested
        (staging.folder / "half.bmodel").touch()
        (staging.logs / "tool.log").write_text("why")
        raise kind("stop")
    assert _names(tmp_path) == {"net", "net.failed"}
    assert _names(target) == {"old", "logs"}
    assert (failed_folder(target) / "tool.log").read_text() == "why"


def test_a_good_build_clears_the_failed_ones_logs(tmp_path: Path) -> None:
    target = tmp_path / "net"
    with pytest.raises(ToolError), building(target) as staging:  # noqa: PT012
        (staging.logs / "tool.log").write_text("why")
        raise ToolError("stop")
    with building(target):
        pass
    assert _names(tmp_path) == {"net"}


def test_an_early_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ToolError), building(tmp_path / "net"):
        raise ToolError("stop")
    assert _names(tmp_path) == set()


def test_says_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolError, match="cannot build in"), building(tmp_path / "file/net"):
        pass
    with (
        pytest.raises(ToolError, match=r"cannot write the build .*No space left"),
        building(tmp_path / "net"),
    ):
        raise OSError(28, "No space left on device")
    assert _names(tmp_path) == {"file"}


# Builds until it is killed; a grandchild with the lock stands for the compiler, which may outlive us.
KILLED = """
import subprocess, sys, time
from pathlib import Path
from bmodel.compiler.build_folder import building
with building(Path(sys.argv[1])) as staging:
    (staging.folder / "half.bmodel").touch()
    child = subprocess.Popen(["sleep", sys.argv[2]], pass_fds=(staging.lock_fd,))
    print(child.pid, flush=True)
    time.sleep(600)
"""


def _killed_build(target: Path, *, survivor_s: int) -> int:
    """Kill a build; returns its child's process number."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(target), str(survivor_s)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    return child


def test_what_a_killed_build_left_is_cleared_once_nobody_writes_there(tmp_path: Path) -> None:
    target = tmp_path / "net"
    survivor = _killed_build(target, survivor_s=600)
    assert len(_names(tmp_path)) == 1
    assert not target.exists()
    with building(target):
        # The compiler of the killed build still runs: its folder is left alone.
        assert len(_names(tmp_path)) == 2
    os.kill(survivor, signal.SIGKILL)
    while Path(f"/proc/{survivor}").exists() and "Z" not in _state(survivor):
        pass
    with building(target):
        assert len(_names(tmp_path)) == 2
    assert _names(tmp_path) == {"net"}


def _state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
