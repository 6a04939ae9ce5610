"""Reads which layer of the network each command of the chip belongs to, from the compiler's `x.bmodel.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bmodel.errors import ModelFileError


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
