"""Ray's temporary files are out of reach of every other user of the host."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from bmodel.errors import RunError
from cluster.temporary_folder import private_folder, temporary_ray_folder
from tests.helpers.other_user import NOBODY, can_enter, needs_root


def mode(folder: Path) -> int:
    return folder.stat().st_mode & 0o777


def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "x")
    assert mode(folder) == 0o700
    folder.chmod(0o777)  # as an earlier version, or Ray itself, would have left it
    assert mode(private_folder(folder)) == 0o700


def test_a_folder_that_somebody_else_made_beforehand_is_refused(tmp_path: Path) -> None:
    needs_root()
    folder = tmp_path / "x"
    folder.mkdir(mode=0o777)
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(RunError, match="must belong to this user"):
        private_folder(folder)


@pytest.mark.parametrize("target", ["file", "link"])
def test_what_is_no_folder_is_refused(target: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if target == "file":
        path.touch()
    else:
        (tmp_path / "elsewhere").mkdir()
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"the folder for Ray's temporary files"):
        private_folder(path)


def test_the_files_of_a_local_cluster_are_kept_only_after_an_error() -> None:
    with temporary_ray_folder() as folder:
        folder.mkdir(mode=0o777)
        assert mode(folder.parent) == 0o700
    assert not folder.parent.exists()
    with ExitStack() as stack:
        stack.enter_context(suppress(RunError))
        folder = stack.enter_context(temporary_ray_folder())
        raise RunError("x")
    assert folder.parent.exists()
    folder.parent.rmdir()


def test_another_user_cannot_enter(tmp_path: Path) -> None:
    needs_root()
    with temporary_ray_folder() as folder:
        folder.mkdir()
        folder.chmod(0o777)
        assert not can_enter(folder)
    open_to_all = Path(os.path.realpath("/tmp"))
    assert can_enter(open_to_all)  # so that the question could have had the other answer
