"""What one seeded storm does: who dies when, what breaks, and what is damaged while nobody is at work.

Kinds rotate with the seed, so that few seeds in a row meet every kind; when and whom they hit is thrown by dice.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, get_args

from tests.ray.chaos.doomed import STAGES

Blow = Literal["worker", "host"]
Damage = Literal[
    "truncate", "flip a byte", "remove", "wrong number", "half a line", "unfinished file", "lost field"
]
FAULTS = ("hang", "fail", "segfault", "slow ms=4000", "die")
DAMAGES: tuple[Damage, ...] = get_args(Damage)
HARMLESS = {"half a line", "unfinished file"}
SHARD_SIZE = 10
IMAGE_COUNT = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """One driver's life.

    doom: the stage and the number of the commit at which it is killed, None when it may end by itself.
    blows: what is killed meanwhile, each once this driver has committed that many shards.
    fault: what is armed in the device from the start. damage: what was done to the folder before.
    """

    doom: tuple[str, int] | None
    blows: tuple[tuple[int, Blow], ...] = ()
    fault: str | None = None
    damage: Damage | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Storm:
    """A whole run from its first driver to its last."""

    seed: int
    device: Literal["timed", "cpu"]
    service_ms: int
    lives: tuple[Life, ...]

    @property
    def damages_to_commits(self) -> int:
        """Damages after which a committed shard has to be done again."""
        return sum(life.damage is not None and life.damage not in HARMLESS for life in self.lives)


def make_storm(seed: int) -> Storm:
    """The storm of a seed: two drivers killed in a commit, at least two workers, a host in every third."""
    dice = random.Random(seed)
    device: Literal["timed", "cpu"] = "cpu" if seed % 4 == 3 else "timed"
    stages = (STAGES[seed % len(STAGES)], STAGES[(seed // len(STAGES) + 2 * seed + 1) % len(STAGES)])
    blows: list[tuple[int, Blow]] = [(dice.randint(1, 8), "worker"), (dice.randint(9, 20), "worker")]
    if seed % 3 == 0:
        blows.append((dice.randint(4, 14), "host"))
    return Storm(
        seed=seed,
        device=device,
        service_ms=dice.randint(10, 16),
        lives=(
            Life(doom=(stages[0], dice.randint(4, 12)), blows=((dice.randint(0, 2), "worker"),)),
            Life(doom=(stages[1], dice.randint(4, 12)), damage=DAMAGES[seed % len(DAMAGES)]),
            Life(
                doom=None,
                blows=tuple(sorted(blows)),
                fault=FAULTS[seed % len(FAULTS)] if device == "timed" else None,
                damage=DAMAGES[(seed + 2) % len(DAMAGES)],
            ),
        ),
    )
