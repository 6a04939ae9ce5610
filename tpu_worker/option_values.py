"""The names, limits and defaults of what a worker is told to do; light, so that a command line can show them."""

from __future__ import annotations

from typing import Final, Literal

DeviceName = Literal["cpu", "simulator", "libbmrt", "sail", "timed"]
PreprocessName = Literal["opencv", "bmcv"]
FaultAction = Literal["fail", "hang", "die", "segfault", "slow"]
# The devices that need a card.
CARD_DEVICES: Final = frozenset[DeviceName]({"sail", "libbmrt"})

DEFAULT_CONF: Final = 0.001
CONF_ABOVE: Final = 0.0
CONF_BELOW: Final = 1.0

DEFAULT_IOU: Final = 0.65
IOU_LEAST: Final = 0.0
IOU_MOST: Final = 1.0

DEFAULT_DETECTIONS: Final = 300
# Boxes that enter suppression, hence also the most that an image may keep.
MOST_DETECTIONS: Final = 30_000
