"""Reads a BModel file without trusting it: what it is made for, what goes in and out, whether its weights are whole.

The vendor's runtime dies of a damaged header and runs damaged weights without a word; so every file is read here
first. A BModel is a 64-byte header, a FlatBuffer (container_schema.py) and the binaries that it points into.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from bmodel.container_checks import MAXIMUM_DEVICE_BYTES, check_parameter, check_weights
from bmodel.container_schema import MODEL
from bmodel.errors import ModelFileError
from bmodel.flatbuffer import Buffer, Table, root_table
from bmodel.sidecar import DType

MAGIC: Final = 0xFF55AAEE
HEADER: Final = struct.Struct("<IIIQ11I")
MAXIMUM_FLATBUFFER_BYTES: Final = 64 << 20
MAXIMUM_TENSORS: Final = 64
MAXIMUM_DIMENSIONS: Final = 8

DTYPES: Final[dict[int, tuple[DType, int]]] = {
    0: ("float32", 4),
    1: ("float16", 2),
    2: ("int8", 1),
    3: ("uint8", 1),
    4: ("int16", 2),
    5: ("uint16", 2),
    6: ("int32", 4),
    7: ("uint32", 4),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """An input or output; for the meaning of scale and zero point see `sidecar.TensorSpec`."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    scale: float
    zero_point: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A network at one input shape. Weights in bytes; neuron memory is what the runtime allocates on the card."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    is_dynamic: bool
    core_count: int
    neuron_bytes: int
    weight_bytes: int
    weight_sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A network under its name, with at least one stage."""

    name: str
    stages: tuple[Stage, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """A whole and consistent BModel file."""

    path: Path
    file_bytes: int
    chip: str
    compiler_version: str
    compiled_at: str
    networks: tuple[Network, ...]

    def single_network(self) -> Network:
        """Return the only network; raises ModelFileError for a file of several."""
        if len(self.networks) != 1:
            names = ", ".join(network.name for network in self.networks)
            raise ModelFileError(f"a detector's BModel must hold one network, got {names} in '{self.path}'")
        return self.networks[0]


def read_container(path: Path, *, chip: str | None = None) -> Container:
    """Read and check a BModel; raises ModelFileError naming place, rule and file.

    chip: refuse a file that was compiled for another one.
    """
    if not path.is_file():
        raise ModelFileError(f"there is no BModel file '{path}'")
    try:
        with path.open("rb") as file:
            return _read(file, path, chip)
    except OSError as error:
        raise ModelFileError(f"cannot read '{path}': {error.strerror}") from error


def _read(file: BinaryIO, path: Path, chip: str | None) -> Container:
    file_bytes = path.stat().st_size
    flatbuffer_bytes, binary_bytes = _read_header(file, path, file_bytes)
    buffer = Buffer(data=file.read(flatbuffer_bytes), name=str(path))
    model = root_table(buffer, MODEL)
    for place, (start, size) in model.walk():
        if start + size > binary_bytes:
            raise buffer.damaged(place, f"bytes {start} to {start + size} must lie within {binary_bytes}")
    if chip is not None and model.text("chip") != chip:
        raise buffer.damaged("chip", f"must be {chip}, got '{model.text('chip')}'")
    networks = _read_networks(model, buffer)
    for network in model.tables("net"):
        for parameter in network.tables("parameter"):
            check_parameter(parameter, buffer, chip=model.text("chip"))
            check_weights(parameter, buffer, file, HEADER.size + flatbuffer_bytes)
    return Container(
        path=path,
        file_bytes=file_bytes,
        chip=model.text("chip"),
        compiler_version=model.text("version"),
        compiled_at=model.text("time").strip(),
        networks=networks,
    )


def _read_header(file: BinaryIO, path: Path, file_bytes: int) -> tuple[int, int]:
    """Return the sizes of the FlatBuffer and of the binaries."""
    raw = file.read(HEADER.size)
    if len(raw) < HEADER.size:
        raise ModelFileError(
            f"a BModel starts with a header of {HEADER.size} bytes, got {len(raw)} in '{path}'"
        )
    magic, header_bytes, flatbuffer_bytes, binary_bytes, *_ = HEADER.unpack(raw)
    if magic != MAGIC:
        raise ModelFileError(f"a BModel starts with {MAGIC:#010x}, got {magic:#010x} in '{path}'")
    if header_bytes != HEADER.size:
        raise ModelFileError(f"header size must be {HEADER.size}, got {header_bytes} in '{path}'")
    if not 8 <= flatbuffer_bytes <= MAXIMUM_FLATBUFFER_BYTES:
        raise ModelFileError(
            f"FlatBuffer size must be within 8 and {MAXIMUM_FLATBUFFER_BYTES}, got {flatbuffer_bytes} in '{path}'"
        )
    expected = HEADER.size + flatbuffer_bytes + binary_bytes
    if file_bytes < expected:
        raise ModelFileError(
            f"the file is cut off: it must have {expected} bytes, got {file_bytes} in '{path}'"
        )
    return flatbuffer_bytes, binary_bytes


def _read_networks(model: Table, buffer: Buffer) -> tuple[Network, ...]:
    networks = []
    for table in model.tables("net"):
        stages = tuple(_read_stage(parameter, buffer) for parameter in table.tables("parameter"))
        name = table.text("name")
        if not name or not stages:
            raise buffer.damaged(table.place, "a network must have a name and a stage")
        signature = _signature(stages[0])
        if any(_signature(stage) != signature for stage in stages):
            raise buffer.damaged(table.place, "all stages of a network must have the same inputs and outputs")
        networks.append(Network(name=name, stages=stages))
    names = [network.name for network in networks]
    if not networks or len(set(names)) != len(names):
        raise buffer.damaged("net", f"networks must have different names, got {names}")
    return tuple(networks)


def _signature(stage: Stage) -> list[tuple[str, DType]]:
    return [(tensor.name, tensor.dtype) for tensor in (*stage.inputs, *stage.outputs)]


def _read_stage(table: Table, buffer: Buffer) -> Stage:
    weights = table.table("weights")
    for subnet in table.tables("subnets"):
        for name in ("input_tensor", "output_tensor"):
            _read_tensors(subnet, name, buffer)
    return Stage(
        inputs=_read_tensors(table, "input_tensor", buffer),
        outputs=_read_tensors(table, "output_tensor", buffer),
        is_dynamic=bool(table.integer("is_dynamic")),
        core_count=max(1, table.integer("core_count")),
        neuron_bytes=table.integer("neuron_size"),
        weight_bytes=weights.required_pair("binary")[1] if weights else 0,
        weight_sha256=bytes(weights.integers("sha256")).hex() if weights else None,
    )


def _read_tensors(table: Table, name: str, buffer: Buffer) -> tuple[Tensor, ...]:
    place = f"{table.place}.{name}"
    tensors = tuple(_read_tensor(tensor, buffer) for tensor in table.tables(name))
    if not 1 <= len(tensors) <= MAXIMUM_TENSORS:
        raise buffer.damaged(place, f"must have 1 to {MAXIMUM_TENSORS} tensors, got {len(tensors)}")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise buffer.damaged(place, "tensors must have different names")
    return tensors


def _read_tensor(table: Table, buffer: Buffer) -> Tensor:
    code = table.integer("data_type")
    if code not in DTYPES:
        raise buffer.damaged(f"{table.place}.data_type", f"must be within 0 and 7, got {code}")
    shapes = [shape.integers("dim") for shape in table.tables("shape")]
    if not shapes:
        raise buffer.damaged(f"{table.place}.shape", "a tensor must have a shape")
    dtype, item_bytes = DTYPES[code]
    for shape in shapes:
        if not 1 <= len(shape) <= MAXIMUM_DIMENSIONS or min(shape) < 1:
            raise buffer.damaged(f"{table.place}.shape", f"must have 1 to 8 positive dimensions, got {shape}")
        if math.prod(shape) * item_bytes > MAXIMUM_DEVICE_BYTES:
            raise buffer.damaged(f"{table.place}.shape", f"{shape} does not fit on a card")
    scale = table.real("scale")
    if not math.isfinite(scale) or scale <= 0:
        raise buffer.damaged(f"{table.place}.scale", f"must be positive and finite, got {scale}")
    return Tensor(
        name=table.text("name"),
        shape=shapes[0],
        dtype=dtype,
        scale=scale,
        zero_point=table.integer("zero_point"),
    )
