"""What one card does with images; runs without Ray."""

from __future__ import annotations

import os
from typing import Final

DEFAULT_MAX_PIXELS: Final = 178_956_970

# OpenCV reads its settings once, when cv2 is loaded, and every module that loads it lies below this package. The
# pixel limit is a second line behind the check of each header; the log would repeat what failed rows already say.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(DEFAULT_MAX_PIXELS))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
