"""Which class decodes which layout: a new layout is a module here and a line below, and its shapes in bmodel/layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bmodel.layouts import LayoutName
from bmodel.sidecar import ModelSpec
from tpu_worker.layouts.anchor_free import AnchorFree
from tpu_worker.layouts.candidates import Choice, Layout
from tpu_worker.layouts.decoded import Decoded
from tpu_worker.layouts.end_to_end import EndToEnd
from tpu_worker.layouts.heads import Heads
from tpu_worker.layouts.planes import Planes
from tpu_worker.layouts.yolox import Yolox

LAYOUTS: Final[dict[LayoutName, Callable[[ModelSpec, Choice], Layout]]] = {
    "heads": Heads,
    "planes": Planes,
    "decoded": Decoded,
    "anchor-free": AnchorFree,
    "yolox": Yolox,
    "end-to-end": EndToEnd,
}


def open_layout(spec: ModelSpec, *, conf: float, single_label: bool) -> Layout:
    """Return what decodes a network's outputs; see `Choice` for the two options."""
    return LAYOUTS[spec.layout](spec, Choice(conf=conf, single_label=single_label))
