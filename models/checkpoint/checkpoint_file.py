"""Reads a PyTorch checkpoint file without PyTorch and without running anything of it.

The file is a zip archive: `data.pkl` describes the objects, `data/<key>` holds each storage's bytes. Entries are
stored uncompressed, so that nothing can unfold into more memory than the file is long.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import ModelFileError
from models.checkpoint.checkpoint_names import (
    BFLOAT16,
    REBUILD_PARAMETER,
    REBUILD_TENSOR,
    STORAGE_DTYPES,
    Global,
    quoted,
)
from models.checkpoint.pickle_reader import PersistentId, Record, Value, read_pickle

_LARGEST_PICKLE_BYTES: Final = 16 << 20
_LARGEST_DIRECTORY_BYTES: Final = 4 << 20
"""The archive's list of entries; the largest checkpoint of the family has 0.1 MB."""
_MOST_READS: Final = 4
"""Tensors may share storages, but together they may read at most this many times the file's size."""
_MOST_DIMENSIONS: Final = 8
_LARGEST_NUMBER: Final = 1 << 48
_LEGACY_START: Final = bytes.fromhex("80028a0a6cfc9c46f920")
"""How files of PyTorch before 1.6 begin: a pickled magic number."""


class CheckpointFile:
    """An open checkpoint.

    `root` is what its pickle describes. Raises ModelFileError, with the file's path, if the file is no checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open_file(path)
        self._bytes_left = _MOST_READS * path.stat().st_size
        try:
            self._archive = _open_archive(self._file)
            self._prefix = self._find_prefix()
            self.root = read_pickle(self._read("data.pkl"))
        except ModelFileError as error:
            self._file.close()
            raise ModelFileError(f"{error} in '{path}'") from error

    def close(self) -> None:
        """Close the file."""
        self._archive.close()
        self._file.close()

    def array(self, value: Value, name: str) -> NDArray[Any]:
        """Build the tensor or parameter that a record describes, in its own shape; floating-point ones become float32.

        Raises ModelFileError, with the tensor's name, if it does not fit its storage.
        """
        try:
            return self._array(value)
        except ModelFileError as error:
            raise ModelFileError(f"tensor {quoted(name)}: {error} in '{self._path}'") from error

    def _find_prefix(self) -> str:
        entries = self._archive.infolist()
        names = [entry.filename for entry in entries]
        if len(set(names)) != len(names):
            raise ModelFileError("the checkpoint names an archive entry twice")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise ModelFileError(
                    f"archive entry {quoted(entry.filename)} is compressed or encrypted: refused"
                )
        if sum(entry.file_size for entry in entries) > self._path.stat().st_size:
            raise ModelFileError("the checkpoint's archive claims more bytes than the file has: refused")
        prefixes = [name[: -len("data.pkl")] for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(prefixes) != 1:
            raise ModelFileError(f"a checkpoint holds one data.pkl, found {len(prefixes)}")
        if f"{prefixes[0]}constants.pkl" in names:
            raise ModelFileError("this is a TorchScript archive, not a checkpoint")
        self._check_byte_order(prefixes[0], names)
        return prefixes[0]

    def _check_byte_order(self, prefix: str, names: list[str]) -> None:
        name = f"{prefix}byteorder"
        if name in names and self._archive.read(name).strip() != b"little":
            raise ModelFileError("the checkpoint was written on a big-endian machine")

    def _read(self, name: str) -> bytes:
        try:
            entry = self._archive.getinfo(self._prefix + name)
            if name == "data.pkl" and entry.file_size > _LARGEST_PICKLE_BYTES:
                raise ModelFileError(
                    f"data.pkl has {entry.file_size} bytes, the limit is {_LARGEST_PICKLE_BYTES}"
                )
            self._bytes_left -= entry.file_size
            if self._bytes_left < 0:
                raise ModelFileError("its tensors are far larger than the file: refused")
            return self._archive.read(entry)
        except (KeyError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
            raise ModelFileError(f"archive entry '{name}' cannot be read: {error}") from error

    def _array(self, value: Value) -> NDArray[Any]:
        if isinstance(value, Record) and value.made_by == REBUILD_PARAMETER and value.arguments:
            value = value.arguments[0]
        if not isinstance(value, Record) or value.made_by != REBUILD_TENSOR or len(value.arguments) < 4:
            raise ModelFileError("it is not a tensor")
        reference, offset, size, stride = value.arguments[:4]
        kind, storage = self._storage(reference)
        strided = _view(storage, _whole(offset), _whole_numbers(size), _whole_numbers(stride))
        if kind == BFLOAT16:
            return (strided.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return strided.astype(np.float32 if strided.dtype.kind == "f" else strided.dtype)

    def _storage(self, reference: Value) -> tuple[Global, NDArray[Any]]:
        """Read the storage that a persistent id ('storage', type, key, place, length) stands for."""
        match reference:
            case PersistentId(value=("storage", Global() as kind, str() as key, str(), length)):
                pass
            case _:
                raise ModelFileError("its storage is not described as PyTorch describes one")
        if kind not in STORAGE_DTYPES or not key.isalnum():
            raise ModelFileError(f"its storage {quoted(key)} of type {quoted(str(kind))} is unknown")
        dtype = np.dtype(STORAGE_DTYPES[kind])
        expected = _whole(length) * dtype.itemsize
        data = self._read(f"data/{key}")
        if len(data) != expected:
            raise ModelFileError(f"its storage {quoted(key)} must have {expected} bytes, got {len(data)}")
        return kind, np.frombuffer(data, dtype=dtype)


class _ArchiveReader(io.BufferedReader):
    """A file whose reads are limited while the archive's directory is read: `zipfile` reads it in one piece."""

    limit: int | None = _LARGEST_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes; raises ModelFileError if that is more than the limit."""
        if self.limit is not None and size is not None and size > self.limit:
            raise ModelFileError(
                f"its archive's directory has {size} bytes, the limit is {self.limit}: refused"
            )
        return super().read(size)


def _open_file(path: Path) -> _ArchiveReader:
    try:
        return _ArchiveReader(io.FileIO(path))
    except OSError as error:
        raise ModelFileError(f"cannot read the checkpoint '{path}': {error.strerror}") from error


def _open_archive(file: _ArchiveReader) -> zipfile.ZipFile:
    if file.read(len(_LEGACY_START)) == _LEGACY_START:
        raise ModelFileError("PyTorch wrote this file before 1.6: load it there and save it again")
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelFileError(f"this is not a PyTorch checkpoint: {error}") from error
    file.limit = None
    return archive


def _whole(value: Value) -> int:
    if not isinstance(value, int) or not 0 <= value < _LARGEST_NUMBER:
        raise ModelFileError("its lengths, strides and offset must be whole numbers from 0 on")
    return value


def _whole_numbers(value: Value) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > _MOST_DIMENSIONS:
        raise ModelFileError(f"its size and stride must be tuples of at most {_MOST_DIMENSIONS}")
    return tuple(_whole(number) for number in value)


def _view(storage: NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> NDArray[Any]:
    """View a storage as PyTorch would, after checking that the view lies inside it."""
    if len(size) != len(stride):
        raise ModelFileError(f"its size {size} and stride {stride} differ in length")
    if 0 in size:
        raise ModelFileError(f"its size {size} is empty")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if math.prod(size) > len(storage) or last >= len(storage):
        raise ModelFileError(
            f"its size {size}, stride {stride} and offset {offset} reach beyond a storage of {len(storage)}"
        )
    byte_strides = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, byte_strides, writeable=False)
