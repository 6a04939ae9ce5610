"""Reads which layer of the network each command of the chip belongs to, from the compiler's `x.bmodel.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bmodel.errors import ModelFileError, ToolError
from bmodel.onnx_file import OnnxNode
from bmodel.validation import ExactModel


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerName:
    """A layer as the compiled network names it, and what it does there (`Conv2D`, `Active`, `Load`, …)."""

    name: str
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerNames:
    """The layer of each command of an engine; both engines count theirs from 1."""

    compute: dict[int, LayerName]
    transfers: dict[int, LayerName]


def read_layer_names(path: Path) -> LayerNames:
    """Read the compiler's list of operations; raises ModelFileError naming the file."""
    try:
        operations = json.loads(path.read_bytes())
        compute: dict[int, LayerName] = {}
        transfers: dict[int, LayerName] = {}
        for operation in operations:
            name = _name(operation)
            before, after = operation["tiu_dma_id(before)"], operation["tiu_dma_id(after)"]
            for engine, place in ((compute, 0), (transfers, 1)):
                engine.update(dict.fromkeys(range(before[place] + 1, after[place] + 1), name))
    except OSError as error:
        raise ModelFileError(f"cannot read the layer names '{path}': {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelFileError(f"'{path}' is not the compiler's list of operations: {error!r}") from error
    return LayerNames(compute=compute, transfers=transfers)


def _name(operation: dict[str, Any]) -> LayerName:
    kind = str(operation["opcode"]).removeprefix("tpu.")
    results = operation["results"] or [{"name": kind}]
    return LayerName(name=str(results[0]["name"]), kind=kind)


WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def with_followers(
    layers: Sequence[str], nodes: Sequence[OnnxNode], known: Collection[str]
) -> tuple[str, ...]:
    """Add the layers without weights whose computed inputs all come from these or from added ones.

    layers: as the compiler names them, after their output and kind. nodes: the network, each behind what it needs.
    known: the compiler's names; it fuses some nodes into others.
    """
    computed = {output for node in nodes for output in node.outputs}
    kept = set(layers)
    behind: set[str] = set()
    added = []
    for node in nodes:
        names = [f"{output}_{node.kind}" for output in node.outputs]
        needs = computed.intersection(node.inputs)
        if kept.intersection(names):
            behind.update(node.outputs)
        elif node.kind not in WEIGHTED and needs and needs <= behind:
            behind.update(node.outputs)
            added += [name for name in names if name in known]
    return (*layers, *added)


def last_layers(nodes: Sequence[OnnxNode], outputs: Collection[str]) -> tuple[str, ...]:
    """Name the layers with weights that nothing with weights follows: what the network puts out is theirs."""
    wanted = set(outputs)
    found = []
    for node in reversed(nodes):
        if wanted.isdisjoint(node.outputs):
            continue
        if node.kind in WEIGHTED:
            found += [f"{output}_{node.kind}" for output in node.outputs]
        else:
            wanted.update(node.inputs)
    return tuple(reversed(found))


_RANKED: Final = re.compile(
    r"the layer (?P<name>\S+) is (?P<place>\d+) sensitive layer, loss is (?P<loss>\S+), type is (?:top\.)?(?P<kind>\w+)"
)

_NAMED: Final = re.compile(r'loc\("([^"]+)"\)')


class RankedLayer(ExactModel):
    """A layer and what the outputs lose when it alone is computed in INT8: 1 - cosine to FP32, averaged over heads."""

    name: str
    kind: str
    loss: float


class LayerRanking(ExactModel):
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
