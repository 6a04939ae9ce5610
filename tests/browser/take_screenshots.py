"""Takes the pictures of docs/report.md: `python -m tests.browser.take_screenshots RUN docs/images`.

RUN is a finished run on the sample set, whose report.html is looked at.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2

from tests.browser.chromium import Chromium, find_chromium

# File, width in CSS pixels, dark, what it begins with, height.
PICTURES = (
    ("report-1400-light.png", 1400, False, "body", 1500),
    ("report-1400-dark.png", 1400, True, "body", 1500),
    ("report-400-light.png", 400, False, "body", 1500),
    ("report-400-dark.png", 400, True, "#cards", 1500),
    ("report-speed.png", 1400, False, "#speed", 1250),
    ("report-images.jpg", 1400, True, "#images", 1250),
)


def main(run: Path, folder: Path) -> None:
    """Take them all."""
    program = find_chromium()
    if program is None:
        raise SystemExit("no Chromium is installed")
    folder.mkdir(parents=True, exist_ok=True)
    with Chromium(program) as browser:
        for name, width, dark, begin, height in PICTURES:
            browser.open((run / "report.html").resolve(), width=width, dark=dark)
            top = browser.evaluate(f"document.querySelector('{begin}').getBoundingClientRect().top + scrollY")
            shot = folder / f"{name}.shot.png"
            browser.screenshot(shot, top=int(top), height=height)
            pixels = cv2.imread(str(shot))
            shot.unlink()
            if pixels is None:
                raise SystemExit(f"Chromium drew nothing of '{begin}'")
            quality = (
                [cv2.IMWRITE_JPEG_QUALITY, 85] if name.endswith(".jpg") else [cv2.IMWRITE_PNG_COMPRESSION, 9]
            )
            cv2.imwrite(str(folder / name), pixels, quality)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
