"""Consistency of a BModel's header: what the runtime relies on without looking, found by damaging files at random."""

from __future__ import annotations

import hashlib
from typing import BinaryIO, Final

from bmodel.flatbuffer import Buffer, Table

# No BM1684 card has more memory; the runtime aborts where it cannot allocate what the file asks for.
MAXIMUM_DEVICE_BYTES: Final = 16 << 30
# The vendor's sum of weights is a SHA-256 only below this.
FIRST_UNSUMMED_BYTES: Final = 1 << 29
# Every command of BM1684's two engines takes as much; later chips have commands of varying length.
BM1684_COMMAND_BYTES: Final = 128
# What a part of a network must have, by its mode: it runs on the chip's engines, or on a processor.
_NEEDED: Final = {0: "commands", 1: "cpu_layers"}


def check_parameter(parameter: Table, buffer: Buffer, *, chip: str) -> None:
    """Raise ModelFileError unless memory, weights, commands and cores of a stage fit together."""
    weights = parameter.table("weights")
    if weights is None:
        raise buffer.damaged(parameter.place, "'weights' is missing")
    _, weight_bytes = weights.required_pair("binary")
    neuron_bytes = parameter.integer("neuron_size")
    needed = neuron_bytes + weight_bytes + parameter.integer("cpu_memory_size") + parameter.integer("io_size")
    if needed > MAXIMUM_DEVICE_BYTES:
        raise buffer.damaged(
            parameter.place, f"must not need more than {MAXIMUM_DEVICE_BYTES} bytes on the card"
        )
    parts = parameter.integers("neuron_sizes")
    if parts and sum(parts) != neuron_bytes:
        raise buffer.damaged(f"{parameter.place}.neuron_sizes", f"must add up to {neuron_bytes}, got {parts}")
    for location in weights.tables("location"):
        end = location.integer("offset") + location.integer("size")
        if end > weight_bytes or not location.text("name"):
            raise buffer.damaged(
                location.place, f"must have a name and lie within {weight_bytes} bytes, got {end}"
            )
    if chip == "BM1684":
        _check_bm1684(parameter, buffer)


def _check_bm1684(parameter: Table, buffer: Buffer) -> None:
    subnets = parameter.tables("subnets")
    if not subnets:
        raise buffer.damaged(f"{parameter.place}.subnets", "must hold the network's parts")
    for subnet in subnets:
        needed = _NEEDED.get(subnet.integer("mode"))
        if needed and not subnet.integer("is_dynamic") and not subnet.tables(needed):
            raise buffer.damaged(subnet.place, f"'{needed}' is missing")
    for table in (parameter, *subnets):
        if table.integer("core_count") > 1:
            raise buffer.damaged(f"{table.place}.core_count", "BM1684 has one core")
        for commands in table.tables("commands"):
            for engine in ("bdc", "gdma"):
                _check_commands(commands, engine, buffer)


def _check_commands(commands: Table, engine: str, buffer: Buffer) -> None:
    count, stated = commands.integer(f"{engine}_count"), commands.integer(f"{engine}_bytes")
    _, stored = commands.pair(engine) or (0, 0)
    expected = count * BM1684_COMMAND_BYTES
    # Old compilers leave the second figure out.
    if stated not in {0, expected} or stored < expected:
        raise buffer.damaged(
            f"{commands.place}.{engine}_count",
            f"{count} commands must take {expected} bytes, got {stated or stored}",
        )


def check_weights(parameter: Table, buffer: Buffer, file: BinaryIO, binaries_at: int) -> None:
    """Raise ModelFileError unless a stage's weights have the SHA-256 that its header states.

    binaries_at: where in the file the binaries start. From 512 MiB on there is nothing to compare with: the vendor's
    sum counts bits in 32 bits and comes out as no SHA-256. The sidecar's sum of the whole file covers such weights.
    """
    weights = parameter.table("weights")
    if weights is None:
        return
    if weights.integer("encryption"):
        raise buffer.damaged(weights.place, "encrypted weights are not supported")
    expected = bytes(weights.integers("sha256"))
    start, size = weights.required_pair("binary")
    if size >= FIRST_UNSUMMED_BYTES:
        return
    digest = hashlib.sha256()
    file.seek(binaries_at + start)
    while size > 0 and (block := file.read(min(size, 1 << 20))):
        digest.update(block)
        size -= len(block)
    if digest.digest() != expected:
        raise buffer.damaged(
            weights.place,
            f"weights are damaged: SHA-256 must be {expected.hex() or 'given'}, got {digest.hexdigest()}",
        )
