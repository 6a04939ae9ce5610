"""What the air and the camera add: rain, snow, dusk, night, lens blur, noise."""

from __future__ import annotations

import cv2
import numpy as np

from data.scenes.dice import Dice
from data.scenes.layout import Plan
from data.scenes.sketch import Image, as_image


def apply_weather(image: Image, plan: Plan, dice: Dice) -> Image:
    """Apply the weather and the camera's faults to a picture, (H, W, 3) BGR; returns one of the same shape."""
    if plan.weather == "rain":
        image = _rain(image, dice)
    elif plan.weather == "snow":
        image = _snowfall(image, dice)
    image = as_image(cv2.LUT(image, _tone(plan, dice)))
    blur = dice.pick((0, 0, 0, 3, 3, 5)) if max(image.shape) > 480 else dice.pick((0, 0, 0, 0, 3, 3))
    if blur:
        # Binomial kernels, whose fixed-point form is exact.
        image = as_image(cv2.GaussianBlur(image, (blur, blur), 0))
    return _noise(
        image, dice, strength=dice.whole(8, 20) if plan.weather in ("dusk", "night") else dice.whole(0, 14)
    )


def _tone(plan: Plan, dice: Dice) -> Image:
    """(1, 256, 3) a curve for each channel: exposure, contrast and the light's tint."""
    level = np.arange(256, dtype=np.float64)
    gain, lift = dice.between(0.88, 1.12), dice.between(-0.25, 0.25)
    tint = (dice.between(0.95, 1.05), 1.0, dice.between(0.95, 1.05))
    if plan.weather == "dusk":
        gain, tint = gain * 0.8, (0.85, 0.95, 1.1)
    elif plan.weather == "night":
        gain, lift, tint = gain * 0.62, lift - 0.1, (1.08, 0.98, 0.95)
    elif plan.weather == "rain":
        gain *= 0.88
    curve = level + lift * level * (255 - level) / 255
    table = np.stack([np.clip(curve * gain * share, 0, 255) for share in tint], 1)
    return np.floor(table + 0.5).astype(np.uint8)[None]


def _rain(image: Image, dice: Dice) -> Image:
    layer = np.zeros_like(image)
    height, width = image.shape[:2]
    slant = dice.between(-0.25, 0.25)
    for _ in range(dice.whole(60, 220)):
        x, y = dice.whole(0, width - 1), dice.whole(-10, height - 1)
        length = dice.whole(height // 30, height // 12)
        cv2.line(layer, (x, y), (x + int(slant * length), y + length), (46, 44, 42), 1, cv2.LINE_AA)
    return as_image(cv2.add(image, layer))


def _snowfall(image: Image, dice: Dice) -> Image:
    layer = np.zeros_like(image)
    height, width = image.shape[:2]
    for _ in range(dice.whole(60, 260)):
        centre = (dice.whole(0, width * 16), dice.whole(0, height * 16))
        cv2.circle(layer, centre, dice.whole(8, 28), (110, 108, 106), cv2.FILLED, cv2.LINE_AA, 4)
    return as_image(cv2.add(image, layer))


def _noise(image: Image, dice: Dice, strength: int) -> Image:
    """Sensor noise: the sum of two dice per sample, so that small errors are likelier than large ones."""
    first = dice.bytes(*image.shape).astype(np.int16)
    second = np.roll(first, 101, axis=1)
    noise = ((first + second - 255) * strength) >> 8
    return np.clip(image + noise, 0, 255).astype(np.uint8)
