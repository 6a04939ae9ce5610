"""What the tables of a FlatBuffer hold: the words that a schema is written in."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from bmodel.errors import ModelFileError


@dataclass(frozen=True, kw_only=True, slots=True)
class Scalar:
    """A number stored in the table itself; `code` as in the struct module."""

    code: str
    default: float = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A structure of two unsigned 64-bit numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A UTF-8 string."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableType:
    """A table: for each field that is read its id and what it holds."""

    fields: Mapping[str, tuple[int, FieldType]]
    required: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorOf:
    """A vector of numbers, pairs or tables."""

    element: Scalar | Pair | TableType


FieldType: TypeAlias = Scalar | Pair | Text | TableType | VectorOf


# A detector's BModel has a few thousand at most; a small file cannot make the reader visit more.
MAXIMUM_VISITS: Final = 200_000


_Element = TypeVar("_Element", Scalar, TableType)


@dataclass(kw_only=True, slots=True)
class Buffer:
    """The bytes of one FlatBuffer, and how many more parts of it may be visited."""

    data: bytes
    name: str
    visits_left: int = field(default=MAXIMUM_VISITS)

    def unpack(self, code: str, position: int, place: str) -> tuple[int | float, ...]:
        """Read little-endian numbers; raises ModelFileError outside the buffer or off their alignment."""
        size = struct.calcsize("<" + code)
        alignment = struct.calcsize("<" + code[-1])
        if position < 0 or position + size > len(self.data):
            raise self.damaged(
                place, f"offset {position} must lie within the {len(self.data)} bytes of the header"
            )
        if position % alignment:
            raise self.damaged(place, f"offset {position} must be a multiple of {alignment}")
        return struct.unpack_from("<" + code, self.data, position)

    def integer(self, code: str, position: int, place: str) -> int:
        """Read one whole number."""
        return int(self.unpack(code, position, place)[0])

    def visit(self, place: str) -> None:
        """Count a visited part."""
        self.visits_left -= 1
        if self.visits_left < 0:
            raise self.damaged(place, f"the header must not have more than {MAXIMUM_VISITS} parts")

    def damaged(self, place: str, rule: str) -> ModelFileError:
        """Return the error for a broken rule."""
        return ModelFileError(f"{place}: {rule} in '{self.name}'")


class Table:
    """One table of a buffer. Every getter checks what it follows and raises ModelFileError with the place."""

    __slots__ = ("_buffer", "_positions", "_type", "place")

    def __init__(self, buffer: Buffer, position: int, kind: TableType, place: str) -> None:
        buffer.visit(place)
        self._buffer, self._type, self.place = buffer, kind, place
        self._positions = _field_positions(buffer, position, place)
        for name in kind.required:
            if not self.has(name):
                raise buffer.damaged(place, f"'{name}' is missing")

    def has(self, name: str) -> bool:
        """Whether the field is stored."""
        return self._type.fields[name][0] in self._positions

    def integer(self, name: str) -> int:
        """Return a whole number, or the schema's default."""
        return int(self.real(name))

    def real(self, name: str) -> float:
        """Return a number, or the schema's default."""
        identity, kind = self._type.fields[name]
        if not isinstance(kind, Scalar):
            raise TypeError(f"'{name}' is not a number")
        if identity not in self._positions:
            return kind.default
        return self._buffer.unpack(kind.code, self._positions[identity], self._at(name))[0]

    def pair(self, name: str) -> tuple[int, int] | None:
        """Return a structure of two numbers."""
        identity = self._type.fields[name][0]
        if identity not in self._positions:
            return None
        first, second = self._buffer.unpack("QQ", self._positions[identity], self._at(name))
        return int(first), int(second)

    def required_pair(self, name: str) -> tuple[int, int]:
        """Return a structure of two numbers that must be stored."""
        value = self.pair(name)
        if value is None:
            raise self._buffer.damaged(self._at(name), "is missing")
        return value

    def text(self, name: str) -> str:
        """Return a string, empty when it is not stored."""
        if not self.has(name):
            return ""
        start, count = self._vector(name, 1)
        self._buffer.visit(self._at(name))
        raw = self._buffer.data[start : start + count]
        # A string ends with a zero byte that its length leaves out; C readers rely on it.
        if self._buffer.data[start + count : start + count + 1] != b"\0" or b"\0" in raw:
            raise self._buffer.damaged(self._at(name), "a string must end with its only zero byte")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._buffer.damaged(self._at(name), "a string must be UTF-8") from error

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a vector of whole numbers, empty when it is not stored."""
        kind = self._element(name, Scalar)
        if not self.has(name):
            return ()
        start, count = self._vector(name, struct.calcsize("<" + kind.code))
        return tuple(
            int(value) for value in struct.unpack_from(f"<{count}{kind.code}", self._buffer.data, start)
        )

    def pairs(self, name: str) -> list[tuple[int, int]]:
        """Return a vector of structures, empty when it is not stored."""
        if not self.has(name):
            return []
        start, count = self._vector(name, 16)
        return [struct.unpack_from("<QQ", self._buffer.data, start + 16 * index) for index in range(count)]

    def table(self, name: str) -> Table | None:
        """Return a table."""
        identity, kind = self._type.fields[name]
        if not isinstance(kind, TableType):
            raise TypeError(f"'{name}' is not a table")
        if identity not in self._positions:
            return None
        return Table(self._buffer, self._follow(self._positions[identity], name), kind, self._at(name))

    def tables(self, name: str) -> list[Table]:
        """Return a vector of tables, empty when it is not stored."""
        kind = self._element(name, TableType)
        if not self.has(name):
            return []
        start, count = self._vector(name, 4)
        return [
            Table(self._buffer, self._follow(start + 4 * index, name), kind, f"{self._at(name)}[{index}]")
            for index in range(count)
        ]

    def walk(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Visit everything below this table; yields place and value of every structure of two numbers."""
        for name, (_, kind) in self._type.fields.items():
            if isinstance(kind, Scalar):
                self.real(name)
            elif isinstance(kind, Text):
                self.text(name)
            elif isinstance(kind, Pair):
                value = self.pair(name)
                yield from [] if value is None else [(self._at(name), value)]
            elif isinstance(kind, TableType):
                child = self.table(name)
                yield from child.walk() if child else ()
            else:
                yield from self._walk_vector(name, kind)

    def _walk_vector(self, name: str, kind: VectorOf) -> Iterator[tuple[str, tuple[int, int]]]:
        if isinstance(kind.element, TableType):
            for child in self.tables(name):
                yield from child.walk()
        elif isinstance(kind.element, Pair):
            for index, value in enumerate(self.pairs(name)):
                yield f"{self._at(name)}[{index}]", value
        else:
            self.integers(name)

    def _element(self, name: str, expected: type[_Element]) -> _Element:
        kind = self._type.fields[name][1]
        if not isinstance(kind, VectorOf) or not isinstance(kind.element, expected):
            raise TypeError(f"'{name}' is not a vector of {expected.__name__}")
        return kind.element

    def _at(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def _follow(self, position: int, name: str) -> int:
        return position + self._buffer.integer("I", position, self._at(name))

    def _vector(self, name: str, size: int) -> tuple[int, int]:
        """Return start and number of a vector's elements, all of them within the buffer."""
        position = self._follow(self._positions[self._type.fields[name][0]], name)
        count = self._buffer.integer("I", position, self._at(name))
        start = position + 4
        if start + count * size > len(self._buffer.data):
            raise self._buffer.damaged(self._at(name), f"{count} elements must fit into the header")
        return start, count


def _field_positions(buffer: Buffer, position: int, place: str) -> dict[int, int]:
    """Read a table's vtable: the absolute position of each stored field, by id."""
    vtable = position - buffer.integer("i", position, place)
    vtable_size = buffer.integer("H", vtable, place)
    table_size = buffer.integer("H", vtable + 2, place)
    if vtable_size < 4 or vtable_size % 2 or vtable + vtable_size > len(buffer.data):
        raise buffer.damaged(place, f"a table's index of {vtable_size} bytes must fit into the header")
    if table_size < 4 or position + table_size > len(buffer.data):
        raise buffer.damaged(place, f"a table of {table_size} bytes must fit into the header")
    count = (vtable_size - 4) // 2
    offsets = struct.unpack_from(f"<{count}H", buffer.data, vtable + 4)
    for offset in offsets:
        if offset and not 4 <= offset < table_size:
            raise buffer.damaged(
                place, f"a field at {offset} must lie within its table of {table_size} bytes"
            )
    return {identity: position + offset for identity, offset in enumerate(offsets) if offset}


def root_table(buffer: Buffer, kind: TableType) -> Table:
    """Return the buffer's root."""
    return Table(buffer, buffer.integer("I", 0, "root"), kind, "")
