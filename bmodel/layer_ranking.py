"""The compiler's ranking of layers by what their INT8 costs, and its table of layers that stay in FP32."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from bmodel.errors import ToolError
from bmodel.sidecar import Frozen

_RANKED: Final = re.compile(
    r"the layer (?P<name>\S+) is (?P<place>\d+) sensitive layer, loss is (?P<loss>\S+), type is (?:top\.)?(?P<kind>\w+)"
)

_NAMED: Final = re.compile(r'loc\("([^"]+)"\)')


class RankedLayer(Frozen):
    """A layer and what the outputs lose when it alone is computed in INT8: 1 - cosine to FP32, averaged over heads."""

    name: str
    kind: str
    loss: float


class LayerRanking(Frozen):
    """Layers by their loss, the worst first, and on how many images it was found.

    known: the compiler's names of everything in the network, weights as well.
    """

    layers: tuple[RankedLayer, ...]
    images: int
    known: tuple[str, ...] = ()


def read_ranking(log: str) -> tuple[RankedLayer, ...]:
    """Read the ranking from the search's log, the worst layer first."""
    ranked = tuple(
        RankedLayer(name=found["name"], kind=found["kind"], loss=float(found["loss"]))
        for found in _RANKED.finditer(log)
    )
    if not ranked:
        raise ToolError("the compiler's search ended without a ranking of layers")
    return tuple(sorted(ranked, key=lambda layer: -layer.loss))


def known_names(network: str) -> tuple[str, ...]:
    """Name everything in the compiler's own form of a network (MLIR), in its order."""
    return tuple(dict.fromkeys(_NAMED.findall(network)))


def layer_table(fp32_layers: Iterable[str]) -> str:
    """Return the text of the compiler's table that keeps these layers in FP32."""
    lines = ["# op_name quantize_mode", *(f"{name} F32" for name in fp32_layers)]
    return "\n".join(lines) + "\n"
