"""What a commit claims is on the disk: file systems that allocate late tell which bytes have no place there yet."""

from __future__ import annotations

import fcntl
import struct
from pathlib import Path

import pytest

from cluster.pool.work import Shard
from jobs.run.folder import RunFolder, begin_run, finish_run
from jobs.run.store import LocalStore
from tests.helpers.run_rows import commit_all, record_of, refs

IMAGES = refs(8)
# linux/fiemap.h: the ioctl, and the flags of an extent whose bytes are in memory alone.
FS_IOC_FIEMAP = 0xC020660B
UNKNOWN, DELAYED = 0x2, 0x4
EXTENTS = 16


def is_on_disk(path: Path) -> bool:
    """Whether every extent of a file has its place; raises OSError where the file system does not tell."""
    header = struct.pack("=QQLLLL", 0, 2**64 - 1, 0, 0, EXTENTS, 0)
    with path.open("rb") as file:
        answer = fcntl.ioctl(file, FS_IOC_FIEMAP, header + bytes(56 * EXTENTS))
    count = struct.unpack_from("=L", answer, 20)[0]
    flags = [struct.unpack_from("=L", answer, 32 + 56 * place + 40)[0] for place in range(count)]
    return count > 0 and not any(flag & (UNKNOWN | DELAYED) for flag in flags)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    probe = tmp_path / "probe"
    probe.write_bytes(b"x" * 100)
    try:
        if is_on_disk(probe):
            pytest.skip("this file system allocates at once, so it cannot tell")
    except OSError:
        pytest.skip("this file system does not tell where its files are")
    return begin_run(LocalStore(tmp_path / "run"), resume=False, record=record_of(len(IMAGES)))


def test_parts_and_records_are_on_the_disk_when_a_commit_returns(run: RunFolder) -> None:
    folder = Path(run.store.place)
    for shard in (Shard(0, 4), Shard(4, 8)):
        commit_all(run.log, IMAGES, [shard])
        files = [folder / "commits.jsonl", *folder.glob("*/part-*.parquet")]
        assert [path.name for path in files if not is_on_disk(path)] == []
    assert len(files) == 5


def test_label_files_are_on_the_disk_before_a_run_is_complete(run: RunFolder) -> None:
    label = Path(run.store.place) / "labels" / "a.txt"
    label.parent.mkdir()
    label.write_text("0 0.5 0.5 0.1 0.1\n")
    assert not is_on_disk(label)
    finish_run(run)
    assert is_on_disk(label)
