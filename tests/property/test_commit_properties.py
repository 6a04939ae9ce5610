"""Whatever interrupts a run, and wherever: the commits stay readable, and what is left is exactly what is missing."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cluster.pool.work import Shard
from jobs.inputs.images import make_shards, remaining_shards
from jobs.run.commit import CommitLog
from jobs.run.store import LocalStore
from tests.helpers.examples import times
from tests.helpers.run_rows import refs, rows_of

IMAGES = refs(24)
# What a dying driver may leave: nothing, half a commit line, parts without a record, half a part.
DEATHS = ("clean", "torn line", "orphan parts", "temporary file")
DAMAGES = ("none", "missing part", "cut part", "flipped byte", "lost line", "wrong number", "lost field")


def ranges(draw: st.DrawFn, total: int) -> list[Shard]:
    """Disjoint ranges within 0 … total-1, in any order."""
    cuts = sorted(draw(st.sets(st.integers(0, total), max_size=12)))
    pieces = [Shard(start, stop) for start, stop in pairwise(cuts)]
    chosen = [piece for piece in pieces if draw(st.booleans())]
    return draw(st.permutations(chosen))


@given(data=st.data(), total=st.integers(1, 60), size=st.integers(1, 20))
def test_what_is_left_and_what_is_done_cover_each_image_once(
    data: st.DataObject, total: int, size: int
) -> None:
    done = data.draw(st.composite(ranges)(total))
    shards = make_shards(total, size)
    left = remaining_shards(shards, done)
    indexes = [index for shard in (*done, *left) for index in range(shard.start, shard.stop)]
    assert sorted(indexes) == list(range(total))
    for shard in left:
        assert any(whole.start <= shard.start and shard.stop <= whole.stop for whole in shards)


def one_life(store: LocalStore, dice: st.DataObject, size: int) -> None:
    """A driver that takes the run over, does some of what is left in some order, and dies in some way."""
    store.remove_unfinished()
    log = CommitLog(store)
    log.drop_damaged()
    left = remaining_shards(make_shards(len(IMAGES), size), [commit.shard for commit in log.commits])
    order = dice.draw(st.permutations(left))
    for number, shard in enumerate(order[: dice.draw(st.integers(0, len(order)))]):
        parts: Sequence[Shard] = shard.halves() if len(shard) > 1 and dice.draw(st.booleans()) else (shard,)
        for part in parts:
            log.add(part, rows_of(IMAGES[part.start : part.stop], attempt=number + 1), number + 1)
    die(store, dice.draw(st.sampled_from(DEATHS)), order[-1] if order else Shard(0, 1))


def die(store: LocalStore, how: str, shard: Shard) -> None:
    if how == "torn line":
        with (store.folder / "commits.jsonl").open("ab") as commits:
            commits.write(b'{"stem":"0000000000-00000')
    elif how == "orphan parts":
        store.write(f"images/{store.part_name(shard.shard_id)}.other", b"")
        if not any(record["stem"] == shard.shard_id for record in store.commits()):
            store.write(f"images/{store.part_name(shard.shard_id)}", b"half a shard")
    elif how == "temporary file":
        (store.folder / "detections").mkdir(exist_ok=True)
        (store.folder / "detections" / ".part.parquet.0123.tmp").write_bytes(b"half a file")


def damage(store: LocalStore, how: str, which: int) -> None:
    records = store.commits()
    if not records or how == "none":
        return
    if how in {"lost line", "wrong number", "lost field"}:
        damage_record(records, how, which % len(records))
        store.retain_commits(records)
        return
    log = CommitLog(store)
    part = log.commits[which % len(records)].parts["images"].file
    path = store.folder / "images" / part
    if how == "missing part":
        path.unlink(missing_ok=True)
    elif path.exists():
        data = path.read_bytes()
        path.write_bytes(data[:-3] if how == "cut part" else bytes([data[0] ^ 1]) + data[1:])


def damage_record(records: list[dict[str, Any]], how: str, which: int) -> None:
    if how == "lost line":
        del records[which]
    elif how == "wrong number":
        records[which]["stop"] += 1 + which
    else:
        del records[which]["images"]


@times(0.4)
@given(dice=st.data(), size=st.integers(1, 9), lives=st.integers(0, 4))
def test_a_run_of_many_lives_ends_with_each_image_once(dice: st.DataObject, size: int, lives: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(Path(folder))
        for _ in range(lives):
            one_life(store, dice, size)
            damage(store, dice.draw(st.sampled_from(DAMAGES)), dice.draw(st.integers(0, 99)))
        store.remove_unfinished()
        log = CommitLog(store)
        log.drop_damaged()
        for shard in remaining_shards(make_shards(len(IMAGES), size), [c.shard for c in log.commits]):
            log.add(shard, rows_of(IMAGES[shard.start : shard.stop]), 1)
        for one in (log, CommitLog(store)):
            one.verify_coverage(len(IMAGES))
            for column, expected in (
                ("index", [image.index for image in IMAGES]),
                ("image_id", [image.image_id for image in IMAGES]),
            ):
                assert [v for t in one.tables("images") for v in t.column(column).to_pylist()] == expected
        boxes = [index for table in log.tables("detections") for index in table.column("index").to_pylist()]
        whole = rows_of(IMAGES).detections.column("index").to_pylist()
        assert boxes == whole
        assert not list(store.folder.rglob("*.tmp"))
