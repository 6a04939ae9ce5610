"""Which class decodes which layout: a new layout is a module here and a line below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bmodel.sidecar import LayoutName, ModelSpec
from tpu_worker.layouts.candidates import Choice, Layout
from tpu_worker.layouts.decoded import Decoded
from tpu_worker.layouts.heads import Heads

LAYOUTS: Final[dict[LayoutName, Callable[[ModelSpec, Choice], Layout]]] = {
    "heads": Heads,
    "decoded": Decoded,
}


def open_layout(spec: ModelSpec, *, conf: float, single_label: bool) -> Layout:
    """Return what decodes a network's outputs; see `Choice` for the two options."""
    return LAYOUTS[spec.layout](spec, Choice(conf=conf, single_label=single_label))
