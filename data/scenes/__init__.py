"""Street scenes drawn from a seed, with exact boxes of their cars, people and bicycles."""

from __future__ import annotations

from data.scenes.render import CLASS_NAMES, Scene, encode_jpeg, render_scene
from data.scenes.series import HELD_OUT, SAMPLE, TRAINING, Series

__all__ = ["CLASS_NAMES", "HELD_OUT", "SAMPLE", "TRAINING", "Scene", "Series", "encode_jpeg", "render_scene"]
