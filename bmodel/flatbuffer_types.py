"""What the tables of a FlatBuffer hold: the words that a schema is written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


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
