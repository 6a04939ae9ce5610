"""Reads names, shapes and types of an ONNX file's inputs and outputs, and its operations.

The file is walked as plain protobuf, weights skipped, so that a driver that only plans a run needs no inference
library. Message and field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from bmodel.errors import ModelFileError
from bmodel.sidecar import DType

DTYPES: Final[dict[int, DType]] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    10: "float16",
    12: "uint32",
}

_Span: TypeAlias = tuple[int, int]
_Part = TypeVar("_Part")


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxTensor:
    """An input or output; a dimension that the file leaves open is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: DType


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxFile:
    """What goes in and out of an ONNX graph, and what its exporter noted about it (`metadata_props`)."""

    path: Path
    inputs: tuple[OnnxTensor, ...]
    outputs: tuple[OnnxTensor, ...]
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxNode:
    """An operation of the graph, and what it computes from what; weights are among the inputs."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_onnx(path: Path) -> OnnxFile:
    """Read an ONNX file's interface; raises ModelFileError naming the file."""
    return _read(path, lambda message, graph: _read_interface(message, graph, path))


def read_nodes(path: Path) -> tuple[OnnxNode, ...]:
    """Read an ONNX file's operations, each behind those that it needs; raises ModelFileError naming the file."""
    return _read(path, lambda message, graph: tuple(_read_nodes(message, graph)))


def _read(path: Path, of_graph: Callable[[_Message, _Span], _Part]) -> _Part:
    if not path.is_file():
        raise ModelFileError(f"there is no ONNX file '{path}'")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            message = _Message(data, str(path))
            return of_graph(message, _graph(message))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"cannot read '{path}' as ONNX: {error}") from error


class _Message:
    """Protobuf's wire format over a file, every length checked."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self._data, self._name = data, name
        self.whole: _Span = (0, len(data))

    def fields(self, span: _Span) -> Iterator[tuple[int, int | _Span]]:
        """Yield each field's number with its value: a whole number, or where its bytes lie."""
        position, end = span
        while position < end:
            key, position = self._varint(position, end)
            kind = key & 7
            if kind == 0:
                value, position = self._varint(position, end)
                yield key >> 3, value
                continue
            size = {1: 8, 5: 4}.get(kind)
            if kind == 2:
                size, position = self._varint(position, end)
            if size is None or position + size > end:
                raise ModelFileError(
                    f"the file is damaged or no ONNX file: byte {position} of '{self._name}'"
                )
            yield key >> 3, (position, position + size)
            position += size

    def spans(self, span: _Span, number: int) -> Iterator[_Span]:
        """Yield the places of a field of messages, strings or bytes."""
        return (value for found, value in self.fields(span) if found == number and isinstance(value, tuple))

    def texts(self, span: _Span, number: int) -> tuple[str, ...]:
        """Return a repeated string field."""
        places = self.spans(span, number)
        return tuple(self._data[start:end].decode("utf-8", errors="replace") for start, end in places)

    def text(self, span: _Span, number: int) -> str:
        """Return a string field, empty when it is not there."""
        return next(iter(self.texts(span, number)), "")

    def integer(self, span: _Span, number: int) -> int | None:
        """Return a whole-number field."""
        found = [value for key, value in self.fields(span) if key == number and isinstance(value, int)]
        return found[-1] if found else None

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while position < end and shift < 64:
            byte = self._data[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, position
            shift += 7
        raise ModelFileError(f"the file is damaged or no ONNX file: byte {position} of '{self._name}'")


def _graph(message: _Message) -> _Span:
    graphs = list(message.spans(message.whole, 7))
    if len(graphs) != 1:
        raise ValueError("it holds no graph")
    return graphs[0]


def _read_nodes(message: _Message, graph: _Span) -> Iterator[OnnxNode]:
    for node in message.spans(graph, 1):
        yield OnnxNode(
            kind=message.text(node, 4), inputs=message.texts(node, 1), outputs=message.texts(node, 2)
        )


def _read_interface(message: _Message, graph: _Span, path: Path) -> OnnxFile:
    # Old exporters list the weights among the inputs.
    weights = {message.text(span, 8) for span in message.spans(graph, 5)}
    inputs = [_read_tensor(message, span) for span in message.spans(graph, 11)]
    outputs = [_read_tensor(message, span) for span in message.spans(graph, 12)]
    inputs = [tensor for tensor in inputs if tensor.name not in weights]
    if not inputs or not outputs:
        raise ValueError("its graph has no input or no output")
    return OnnxFile(path=path, inputs=tuple(inputs), outputs=tuple(outputs), metadata=_read_metadata(message))


def _read_metadata(message: _Message) -> dict[str, str]:
    entries = message.spans(message.whole, 14)
    return {message.text(entry, 1): message.text(entry, 2) for entry in entries}


def _read_tensor(message: _Message, span: _Span) -> OnnxTensor:
    name = message.text(span, 1)
    for kind in message.spans(span, 2):
        for tensor in message.spans(kind, 1):
            code = message.integer(tensor, 1) or 0
            if code not in DTYPES:
                raise ValueError(f"'{name}' has element type {code}, which is not supported")
            shapes = list(message.spans(tensor, 2))
            dimensions = message.spans(shapes[0], 1) if shapes else ()
            shape = tuple(message.integer(dimension, 1) or None for dimension in dimensions)
            return OnnxTensor(name=name, shape=shape, dtype=DTYPES[code])
    raise ValueError(f"'{name}' is not a tensor")
