"""Label files as text: what is never read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data.formats import (
    FormatError,
    read_text,
)
from data.label_text import MAX_LABEL_BYTES


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("0 0.5 ü".encode("latin-1"))
    with pytest.raises(FormatError, match="must be UTF-8, got byte 0xfc at 6"):
        read_text(path)


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    for name in ("pipe.txt", "folder.txt"):
        with pytest.raises(FormatError, match="must be a regular file"):
            read_text(tmp_path / name)
    with pytest.raises(FormatError, match="cannot read the label file"):
        read_text(tmp_path / "nowhere.txt")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(MAX_LABEL_BYTES + 1)  # sparse: takes no room
    with pytest.raises(FormatError, match=f"at most {MAX_LABEL_BYTES} bytes, got {MAX_LABEL_BYTES + 1}"):
        read_text(path)
