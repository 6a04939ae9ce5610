"""Files appear whole or not at all, and a lock names its holder."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from pathlib import Path

import pytest

from bmodel.files import file_sha256, lock, lock_signature, replacing, sign_lock, whole_file, write_whole


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_hash_is_of_the_whole_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    (tmp_path / "x").write_bytes(content)
    assert file_sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("sync", [False, True])
def test_text_and_bytes_replace_what_was_there(sync: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_whole(path, "einß\n", sync=sync)
    write_whole(path, "zwei €\n", sync=sync)
    assert path.read_bytes() == "zwei €\n".encode()
    write_whole(path, b"\x00\xff", sync=sync)
    assert path.read_bytes() == b"\x00\xff"
    assert names(tmp_path) == ["x.json"]


def test_a_writer_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_whole(path, "old")
    with pytest.raises(TypeError), whole_file(path) as file:
        file.writelines((b"half of the ne", "w"))  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_an_unfinished_file_is_hidden_and_beside_its_place(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".x.")
        assert temporary.name.endswith(".tmp")
        assert not path.exists()
        temporary.write_text("done")
    assert path.read_text() == "done"


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with whole_file(path) as first:
        first.write(b"first, ")
        with whole_file(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        first.write(b"to its end")
    assert path.read_bytes() == b"first, to its end"
    assert names(tmp_path) == ["x"]


def test_a_lock_is_of_one_open_file_and_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    mine, other = (os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2))
    try:
        assert lock_signature(mine, unknown="nobody") == "nobody"
        assert lock(mine)
        sign_lock(mine)
        began = time.monotonic()
        assert not lock(other, wait_s=0.2)
        assert time.monotonic() - began >= 0.2
        assert lock_signature(other) == f"process {os.getpid()} on {socket.gethostname()}"
        os.close(mine)
        mine = -1
        assert lock(other)
    finally:
        for descriptor in (mine, other):
            if descriptor >= 0:
                os.close(descriptor)
