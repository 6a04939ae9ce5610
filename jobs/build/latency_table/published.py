"""What has been published of YOLOv7 on BM1684, to be compared with predictions.

i_time and mAP: the write-up of a competition's team (BM1684 on a PCIe card, SDK 2.7.0, FP32, batch 1, the path with
OpenCV). bmrt_test: the vendor's own measurements, ms an image. A figure that was not published, or cannot be read
with certainty, is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bmodel.sidecar import Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A network of the family as it was published.

    size: its input's side as the write-up names it. input_px: what can really be compiled; the write-up's 864 is no
    multiple of yolov7-e6e's largest stride of 64, and its authors' code rounds such a size up.
    """

    model: str
    size: int
    input_px: int
    precision: Precision = "fp32"
    batch: int = 1
    mean_ap50: float | None = None
    i_time_ms: float | None = None
    bmrt_test_ms: float | None = None

    @property
    def name(self) -> str:
        """Its name in files."""
        return f"{self.model}_{self.input_px}_{self.precision}_{self.batch}b"


def _write_up(model: str, size: int, mean_ap50: float | None, i_time_ms: float | None = None) -> Published:
    stride = 64 if model == "yolov7-e6e" else 32
    input_px = -(-size // stride) * stride
    bmrt_test_ms = 87.2 if (model, size) == ("yolov7", 640) else None
    return Published(
        model=model,
        size=size,
        input_px=input_px,
        mean_ap50=mean_ap50,
        i_time_ms=i_time_ms,
        bmrt_test_ms=bmrt_test_ms,
    )


PUBLISHED: Final = (
    # On BM1684 nobody published yolov7-tiny; its mAP is the write-up's from a GPU.
    _write_up("yolov7-tiny", 640, 0.668),
    _write_up("yolov7", 640, 0.774, 102.0),
    _write_up("yolov7", 768, 0.788, 146.0),
    # The print leaves open whether 60 or 160 ms, and whether 0.791 or 0.79.
    _write_up("yolov7", 800, None),
    _write_up("yolov7x", 640, 0.773, 159.4),
    _write_up("yolov7x", 864, 0.797),
    _write_up("yolov7x", 960, 0.805),
    _write_up("yolov7-e6e", 640, 0.727),
    _write_up("yolov7-e6e", 864, 0.788),
    _write_up("yolov7-e6e", 960, 0.796),
    _write_up("yolov7-e6e", 1280, 0.817, 633.0),
    Published(model="yolov7", size=640, input_px=640, precision="int8", batch=1, bmrt_test_ms=48.9),
    Published(model="yolov7", size=640, input_px=640, precision="int8", batch=4, bmrt_test_ms=19.4),
)
