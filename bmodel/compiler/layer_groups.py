"""Finds and mends groups of layers in which the compiler reads the wrong images.

BM1684 stores 8-bit tensors four images to a word. The compiler computes layers in groups, and cuts a group that is too
large for the chip's local memory into slices of images. How small a slice may be it asks of what the group puts out
only: where all of that is FP32 and an input is 8-bit, as where INT8 ends, it makes slices of one or two images, and
every slice reads the first ones of the word. In a batch of four, images 2 and 3 then get the results of 0 and 1.
(Found with tpu_mlir 1.30.2; docs/compile.md has the figures.)

The layers that read so are taken out of their group and run before it, on the whole batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bmodel.errors import ToolError
from bmodel.validation import first_fault

IMAGES_A_WORD: Final = 4
# Makes the compiler take its groups from the file it wrote, instead of searching for them.
TAKE_GROUPS: Final = {"LOAD_TPU_GROUP": "1"}

_GROUP: Final = re.compile(r'"tpu\.Group"\((?P<body>.*?)\n\s*\}\) \{', re.DOTALL)
_LOAD: Final = re.compile(
    r"(?P<value>%\w+) = \"tpu\.Load\"\(.*?n_idx = \[(?P<starts>[\d, ]*)\].*-> tensor<\S*!quant\.uniform<[iu]8:"
)
_LAYER: Final = re.compile(r'= "(?:tpu|top)\.\w+"\((?P<operands>[^)]*)\).*loc\((?P<location>#loc\d*)\)$')
_NAME: Final = re.compile(r'^(?P<location>#loc\d*) = loc\("(?P<name>[^"]*)"\)$', re.MULTILINE)
_FUNCTION: Final = "subfunc_"


class _Entry(BaseModel):
    """A part of the compiler's own file; what is not needed here is kept as it is."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    index: int


class _Group(_Entry):
    """Layers that are computed together. slices: of images, channels, depth, rows, columns; 0: to be searched."""

    func_start_idx: int
    layers: list[str] = Field(alias="locs")
    slices: list[int] = Field(alias="shape_secs")


class _Single(_Entry):
    """A layer that is computed alone."""

    func_idx: int
    group_cost: int
    layer: str = Field(alias="loc")


class _Function(BaseModel):
    model_config = ConfigDict(extra="allow", populate_by_name=True)

    groups: list[_Group] = Field(alias="GroupLayer")
    singles: list[_Single] = Field(alias="GlobalLayer")

    def in_order(self) -> list[_Group | _Single]:
        return sorted([*self.groups, *self.singles], key=lambda entry: entry.index)


class _Groups(BaseModel):
    model_config = ConfigDict(extra="allow")

    def functions(self) -> dict[str, _Function]:
        return {
            name: _Function.model_validate(value)
            for name, value in (self.model_extra or {}).items()
            if name.startswith(_FUNCTION)
        }


def find_misreads(compiled: str) -> tuple[str, ...]:
    """Name the layers whose 8-bit inputs are read in slices that start within a word; takes the final MLIR."""
    names = {found["location"]: found["name"] for found in _NAME.finditer(compiled)}
    return tuple(
        names.get(location, location)
        for group in _GROUP.finditer(compiled)
        for location in _misreading(group["body"])
    )


def mend_groups(written: str, misread: Sequence[str]) -> str:
    """Take the layers out of their groups in the compiler's file of groups; returns the file's new text.

    Raises ToolError when the file is not what the compiler used to write.
    """
    try:
        document = _Groups.model_validate_json(written)
        functions = document.functions()
    except ValidationError as error:
        raise ToolError(f"the compiler's file of layer groups is unknown: {first_fault(error)}") from error
    wrong = set(misread)
    missing = wrong - {
        layer for function in functions.values() for group in function.groups for layer in group.layers
    }
    if missing:
        raise ToolError(f"the compiler's file of layer groups lacks the layer '{min(missing)}'")
    content = document.model_dump(mode="json")
    for name, function in functions.items():
        content[name] = _mended(function, wrong).model_dump(mode="json", by_alias=True)
    return _Groups.model_validate(content).model_dump_json(indent=2) + "\n"


def _misreading(group: str) -> Iterator[str]:
    """Yield the locations of the layers within a group that read 8-bit images from within a word."""
    lines = group.splitlines()
    split = {
        found["value"]
        for line in lines
        if (found := _LOAD.search(line))
        and any(int(start) % IMAGES_A_WORD for start in found["starts"].split(","))
    }
    for line in lines:
        layer = _LAYER.search(line)
        if layer and split.intersection(layer["operands"].split(", ")):
            yield layer["location"]


def _mended(function: _Function, wrong: set[str]) -> _Function:
    groups: list[_Group] = []
    singles: list[_Single] = []

    def alone(layer: str, position: int) -> None:
        index = len(groups) + len(singles)
        singles.append(_Single(index=index, func_idx=position, group_cost=0, loc=layer))

    for entry in function.in_order():
        if isinstance(entry, _Single):
            singles.append(entry.model_copy(update={"index": len(groups) + len(singles)}))
            continue
        positions = {layer: entry.func_start_idx + place for place, layer in enumerate(entry.layers)}
        # What they read comes from outside the group, so they can run before it.
        for layer in entry.layers:
            if layer in wrong:
                alone(layer, positions[layer])
        left = [layer for layer in entry.layers if layer not in wrong]
        if len(left) == 1:
            alone(left[0], positions[left[0]])
        elif left:
            groups.append(entry.model_copy(update={"index": len(groups) + len(singles), "layers": left}))
    return function.model_copy(update={"groups": groups, "singles": singles})
