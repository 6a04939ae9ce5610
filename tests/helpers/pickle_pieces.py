"""Pieces of pickles and checkpoint files, put together by hand: no class of them needs to exist."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

STOP = b"."


def whole(*pieces: bytes) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + b"".join(pieces) + STOP


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(data)) + data


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def numbers(*values: int) -> bytes:
    return tuple_of(*map(number, values))


def dict_of(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def name_of(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return name_of(module, name) + tuple_of(*arguments) + b"R"


def storage(kind: str, key: str, length: int) -> bytes:
    return tuple_of(text("storage"), name_of("torch", kind), text(key), text("cpu"), number(length)) + b"Q"


def tensor(reference: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    hooks = call("collections", "OrderedDict")
    parts = (reference, number(offset), numbers(*size), numbers(*stride), b"\x89", hooks)
    return call("torch._utils", "_rebuild_tensor_v2", *parts)


def module_of(
    name: str, *, parameters: Mapping[str, bytes] | None = None, children: Mapping[str, bytes] | None = None
) -> bytes:
    """A whole module, as PyTorch pickles one."""
    state = {"_parameters": dict_of(parameters or {}), "_buffers": b"}", "_modules": dict_of(children or {})}
    return name_of("models.common", name) + b")\x81" + dict_of(state) + b"b"


def write_checkpoint(
    path: Path,
    pickled: bytes,
    storages: Mapping[str, bytes] | None = None,
    *,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A checkpoint file with these storages."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return path
