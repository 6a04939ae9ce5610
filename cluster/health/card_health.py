"""The health of real cards: temperatures, memory, utilisation, and how to judge them.

A card's state is read by a separate actor on each host, which holds no card: whatever a card's driver does to the process that
asks it, no worker is disturbed. Virtual cards have no state, and none is made up for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bmodel.errors import RaysailError
from cluster.cards.isolated_query import read_card
from cluster.pool.live_metrics import HEALTH, register

if TYPE_CHECKING:
    from tpu_worker.devices.sail import CardHealth

# The vendor's driver halves the clock of a BM1684 from the first on, lowers it to the least from 90 °C, and calls
# the card faulty above the second: from the first on, measured times are not the card's own.
SLOWED_CELSIUS = 85
FAULTY_CELSIUS = 95

ReadCard = Callable[[int], "CardHealth"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What a card reported at a moment, or why it reported nothing.

    time_s: seconds since the epoch. health: None where `error` says why.
    """

    device_id: int
    time_s: float
    health: CardHealth | None
    error: str = ""


def overheating_problem(chip_temperature_c: int) -> str | None:
    """What is wrong with a chip's temperature, and what to do; None when nothing is."""
    if chip_temperature_c > FAULTY_CELSIUS:
        return (
            f"{chip_temperature_c} °C: above {FAULTY_CELSIUS} °C the driver calls a card faulty; stop it and see to its "
            "cooling"
        )
    if chip_temperature_c >= SLOWED_CELSIUS:
        return f"{chip_temperature_c} °C: from {SLOWED_CELSIUS} °C on the driver slows a card down; see to its cooling"
    return None


class HealthSampler:
    """The actor's body: reads cards of its host and publishes them to Ray's metrics. A plain class.

    The metrics are ray_raysail_card_chip_temperature_c{card="host/0"} and so on.
    """

    def __init__(self, host: str, read: ReadCard = read_card) -> None:
        self._host = host
        self._read = read
        self._gauges = {name: register(metric) for name, metric in HEALTH.items()}

    def sample(self, device_ids: Iterable[int]) -> list[Sample]:
        """One sample per card."""
        samples = [sample_card(device_id, self._read) for device_id in device_ids]
        for sample in samples:
            if sample.health is not None:
                for name, gauge in self._gauges.items():
                    value = float(getattr(sample.health, name))
                    gauge.set(value, tags={"card": f"{self._host}/{sample.device_id}"})
        return samples


def sample_card(device_id: int, read: ReadCard = read_card) -> Sample:
    """Read a card's state; a card that cannot be read is a sample too."""
    try:
        return Sample(device_id=device_id, time_s=time.time(), health=read(device_id))
    except RaysailError as error:
        return Sample(device_id=device_id, time_s=time.time(), health=None, error=str(error))
