"""The committed tables as their readers have them: plain columns that sort, and no bit other than as committed."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.pool.results import DETECTIONS_SCHEMA, IMAGES_SCHEMA
from cluster.pool.work import Shard
from jobs.command_line import main
from jobs.run.commit import CommitLog
from jobs.run.parquet import parquet_bytes, table_of
from jobs.run.store import LocalStore
from tests.helpers.paths import FIXTURES
from tests.helpers.report_runs import MadeUp, make_run
from tests.helpers.run_rows import commit_all, refs

FOLDERS = {"images": IMAGES_SCHEMA, "detections": DETECTIONS_SCHEMA}
IMAGES = refs(10)


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """A folder with the parts of ten images in three shards, their ids not in the order of the rows."""
    commit_all(CommitLog(LocalStore(tmp_path)), IMAGES, [Shard(0, 4), Shard(4, 8), Shard(8, 10)])
    return tmp_path


def sorted_ids(folder: Path) -> list[str]:
    column = pa.concat_tables(pq.read_table(path) for path in sorted(folder.iterdir())).column("image_id")
    return sorted(column.to_pylist())


@pytest.mark.parametrize("folder", FOLDERS)
def test_pyarrow_sorts_the_tables_by_image(folder: str, committed: Path) -> None:
    table = pq.read_table(committed / folder)
    assert not [field for field in table.schema if pa.types.is_dictionary(field.type)]
    assert table.schema == FOLDERS[folder]
    by_name = table.sort_by("image_id").column("image_id").to_pylist()
    assert by_name == sorted_ids(committed / folder)
    assert by_name != table.column("image_id").to_pylist()


def test_strings_that_repeat_are_stored_once_per_part(committed: Path) -> None:
    for path in (committed / "detections").iterdir():
        row_group = pq.ParquetFile(path).metadata.row_group(0)
        columns = {row_group.column(place).path_in_schema: row_group.column(place) for place in range(9)}
        for name in ("image_id", "class_name"):
            assert "RLE_DICTIONARY" in columns[name].encodings


@pytest.mark.parametrize("folder", FOLDERS)
def test_pandas_sorts_the_tables_by_image(folder: str, committed: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(committed / folder)
    assert list(frame.sort_values("image_id")["image_id"]) == sorted_ids(committed / folder)


@pytest.mark.parametrize("folder", FOLDERS)
def test_duckdb_sorts_the_tables_by_image(folder: str, committed: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    found = duckdb.read_parquet(f"{committed}/{folder}/*.parquet").order("image_id")
    assert [row[0] for row in found.project("image_id").fetchall()] == sorted_ids(committed / folder)


def test_a_part_of_0_1_with_dictionary_columns_is_read_as_todays(committed: Path) -> None:
    [old, *_] = sorted((FIXTURES / "run-0.1" / "detections").iterdir())
    assert pa.types.is_dictionary(pq.read_schema(old).field("class_name").type)
    table = table_of(old.read_bytes(), DETECTIONS_SCHEMA)
    assert table.schema == DETECTIONS_SCHEMA
    assert set(table.column("class_name").to_pylist()) <= {"car", "person", "bike"}
    today = parquet_bytes(table).data
    assert table_of(today.to_pybytes(), DETECTIONS_SCHEMA).equals(table)
    assert len(today) < 1.02 * old.stat().st_size


COMMANDS = (
    ("export", "--format", "csv"),
    ("export", "--format", "coco"),
    ("evaluate",),
    ("report",),
    ("labels",),
)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    make_run(folder, MadeUp())
    return folder / "run"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("folder", FOLDERS)
def test_one_flipped_bit_is_refused_by_every_reader(
    command: tuple[str, ...],
    folder: str,
    whole_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, *options = command
    dice = random.Random(f"{command} {folder}")
    for _ in range(4):
        path = dice.choice(sorted((whole_run / folder).iterdir()))
        sound = path.read_bytes()
        damaged = bytearray(sound)
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        monkeypatch.setattr(sys, "argv", ["raysail", name, str(whole_run), *options])
        with pytest.raises(SystemExit) as ended:
            main()
        path.write_bytes(sound)
        [line] = capsys.readouterr().err.splitlines()
        assert ended.value.code == 1
        assert line.startswith(f"raysail: '{path}' is damaged: its SHA-256 must be")
        assert "`raysail detect --resume`" in line
