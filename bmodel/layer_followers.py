"""Which layers stay in FP32 beside those that a search names: what follows them and has no weights of its own.

A convolution in FP32 whose activation is in INT8 is rounded to 8 bits at once, and so gains little; and every change of
precision takes time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from bmodel.onnx_file import OnnxNode

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
