"""Which input shapes a network is to be compiled for: what is asked for, as far as the ONNX file allows it."""

from __future__ import annotations

import re
from itertools import product
from typing import TypeAlias

from bmodel.errors import ConfigurationError
from bmodel.onnx_file import OnnxFile
from bmodel.sidecar import ModelSpec

Shape: TypeAlias = tuple[int, int, int, int]


def parse_batches(text: str | None) -> tuple[int, ...]:
    """`1,4` → (1, 4); nothing → ()."""
    return tuple(dict.fromkeys(_number(part, "--batch") for part in text.split(","))) if text else ()


def parse_sizes(text: str | None) -> tuple[tuple[int, int], ...]:
    """`640,384x640` → ((640, 640), (384, 640)), heights first; nothing → ()."""
    sizes = []
    for part in text.split(",") if text else ():
        sides = [_number(side, "--size") for side in re.split("[xX]", part)]
        if len(sides) > 2:
            raise ConfigurationError(f"--size: must be SIDE or HEIGHTxWIDTH, got '{part}'")
        sizes.append((sides[0], sides[-1]))
    return tuple(dict.fromkeys(sizes))


def input_shapes(
    onnx: OnnxFile, sidecar: ModelSpec | None, batches: tuple[int, ...], sizes: tuple[tuple[int, int], ...]
) -> list[Shape]:
    """Return the shapes to compile for, size by size.

    What is not asked for is the file's own, or its sidecar's where the file leaves it open. Raises
    ConfigurationError when the file has a fixed shape and another is asked for, or leaves a size open that nobody
    names.
    """
    if len(onnx.inputs) != 1 or len(onnx.inputs[0].shape) != 4 or onnx.inputs[0].shape[1] not in {3, None}:
        found = [tensor.shape for tensor in onnx.inputs]
        raise ConfigurationError(f"a detector has one input (N, 3, H, W), got {found} in '{onnx.path}'")
    own_batch, _, *own_hw = onnx.inputs[0].shape
    known = sidecar.input.shape if sidecar else None
    if not batches:
        batches = (own_batch or (known[0] if known else 1),)
    if not sizes:
        sizes = (_own_size(onnx, own_hw, known),)
    shapes: list[Shape] = [(batch, 3, height, width) for (height, width), batch in product(sizes, batches)]
    for shape in shapes:
        _check(shape, (own_batch, own_hw[0], own_hw[1]), onnx)
    return shapes


def _own_size(onnx: OnnxFile, own_hw: list[int | None], known: tuple[int, ...] | None) -> tuple[int, int]:
    height = own_hw[0] or (known[2] if known else None)
    width = own_hw[1] or (known[3] if known else None)
    if height is None or width is None:
        raise ConfigurationError(f"--size: '{onnx.path}' leaves its input size open, so one must be named")
    return height, width


def shape_label(shape: Shape, stem: str) -> str:
    """Return what tells a shape in a file's name: the size, unless `stem` has it already, and the batch."""
    batch, _, height, width = shape
    size = f"{height}" if height == width else f"{height}x{width}"
    has_size = re.search(rf"(?<!\d){size}(?!\d)", stem) is not None
    return f"{batch}b" if has_size else f"{size}_{batch}b"


def _check(shape: Shape, own: tuple[int | None, int | None, int | None], onnx: OnnxFile) -> None:
    wanted = (shape[0], shape[2], shape[3])
    for name, option, has, asked in zip(
        ("batch", "height", "width"), ("--batch", "--size", "--size"), own, wanted, strict=True
    ):
        if has is not None and has != asked:
            raise ConfigurationError(
                f"{option}: '{onnx.path}' has a fixed {name} of {has}, it cannot be compiled for {asked}; export it "
                f"with an open {name}, or once for each shape"
            )


def _number(text: str, option: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ConfigurationError(f"{option}: must be positive whole numbers, got '{text}'")
    return int(text)
