"""Whatever breaks in a whole pool, every image ends exactly once, and the run ends."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from bmodel.errors import CardTakenError, DeviceError, RunError
from cluster.cards.card_slots import CardSlot
from cluster.pool.pool import Outcome, WorkerPool
from cluster.pool.slot_table import PoolLimits
from cluster.pool.work import Shard
from tests.helpers.scripted_ray import Reply, Rows, ScriptedRay, slots

OK = Reply()
REPLIES = st.sampled_from(
    (
        Reply(after_s=0.5),
        Reply(after_s=40.0),
        Reply(refuses=DeviceError("made up")),
        Reply(dies=True),
        Reply(after_s=math.inf),
    )
)
STARTS = st.sampled_from(
    (
        Reply(after_s=5.0),
        Reply(refuses=DeviceError("made up")),
        Reply(refuses=CardTakenError("card lock 'x' must be free, and process 7 on afar holds it")),
        Reply(after_s=math.inf),
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """What goes wrong in a run.

    replies, starts: what the calls and the starts that come as number so-and-so do, where they do not go well.
    poison: what images do to every card. bad_card: a card and what it does with all its work, None without such a one.
    gone: spans of seconds in which the last card's node is away.
    """

    replies: dict[int, Reply]
    starts: dict[int, Reply]
    poison: dict[int, Reply]
    bad_card: tuple[int, Reply] | None
    gone: list[tuple[int, int]]


TROUBLES = st.builds(
    Trouble,
    replies=st.dictionaries(st.integers(0, 40), REPLIES, max_size=8),
    starts=st.dictionaries(st.integers(0, 8), STARTS, max_size=4),
    poison=st.dictionaries(
        st.integers(0, 29),
        st.sampled_from((Reply(refuses=DeviceError("bad image")), Reply(dies=True))),
        max_size=3,
    ),
    bad_card=st.none() | st.tuples(st.integers(0, 2), REPLIES),
    gone=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), max_size=2),
)


class Cluster(ScriptedRay):
    """A scripted cluster in which a trouble comes true."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(process_reply=self._process, start_reply=self._start)
        self._trouble = trouble
        self._calls = self._starts = 0

    def _process(self, slot: CardSlot, images: Sequence[int], _attempt: int, _now: float) -> Reply:
        self._calls += 1
        trouble = self._trouble
        for image in images:
            if image in trouble.poison:
                return trouble.poison[image]
        if trouble.bad_card is not None and slot.device_id == trouble.bad_card[0]:
            return trouble.bad_card[1]
        return trouble.replies.get(self._calls - 1, OK)

    def _start(self, _slot: CardSlot, _now: float) -> Reply:
        self._starts += 1
        return self._trouble.starts.get(self._starts - 1, OK)

    def discover(self, cards: int) -> list[CardSlot]:
        """The slots there are at present; the first never goes."""
        away = any(begin <= self.time_s < begin + length for begin, length in self._trouble.gone)
        return slots(cards - 1 if away and cards > 1 else cards)


@settings(deadline=None)
@given(
    trouble=TROUBLES,
    total=st.integers(0, 30),
    size=st.integers(1, 9),
    cards=st.integers(1, 3),
    deadline_s=st.sampled_from((None, 20.0)),
)
def test_every_image_ends_once_and_the_run_ends(
    trouble: Trouble, total: int, size: int, cards: int, deadline_s: float | None
) -> None:
    cluster, rounds = Cluster(trouble), itertools.count()

    def check() -> None:
        assert next(rounds) < 50_000, "the run does not end"

    pool: WorkerPool[Rows] = WorkerPool(
        start_worker=cluster.start,
        load=lambda shard: list(range(shard.start, shard.stop)),
        discover=lambda: cluster.discover(cards),
        limits=PoolLimits(shard_deadline_s=deadline_s, start_deadline_s=100.0),
        tell=lambda _: None,
        check=check,
        calls=cluster,
    )
    outcomes: list[Outcome[Rows]] = []
    failure = ""
    try:
        outcomes.extend(pool.run(Shard(start, min(start + size, total)) for start in range(0, total, size)))
    except RunError as error:
        failure = str(error)
    is_complete = not failure
    assert is_complete or failure.startswith("no card is left")
    ended = Counter(index for outcome in outcomes for index in range(outcome.shard.start, outcome.shard.stop))
    assert max(ended.values(), default=1) == 1, "an image ended twice"
    assert not is_complete or sorted(ended) == list(range(total))
    for outcome in outcomes:
        if outcome.result is not None:
            assert outcome.result.images == tuple(range(outcome.shard.start, outcome.shard.stop))
        else:
            assert len(outcome.shard) == 1
            assert outcome.attempt >= 3
    assert all(actor.is_dead for actor in cluster.actors), "a worker outlives the run"
    if is_complete:
        lost = {outcome.shard.start for outcome in outcomes if outcome.lost is not None}
        assert set(trouble.poison) & set(range(total)) <= lost, "an image that no card can do was done"
