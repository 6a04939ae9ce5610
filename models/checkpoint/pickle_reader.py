"""Reads a pickle as data: containers, numbers, text, and records of what it would have called.

A pickle is a program, and whoever runs an untrusted one hands the machine over. Here its opcodes are followed only
as far as they build data. Nothing is looked up, imported or called: a global is its name as text, and must be one that
a checkpoint of the YOLOv7 authors needs; a call becomes a `Record`, which does nothing. Any other global ends the
reading, and so do opcodes that checkpoints do not use.
"""

from __future__ import annotations

import itertools
import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bmodel.errors import ModelFileError
from models.checkpoint.checkpoint_names import Global, allowed_global

Value = object

_MOST_OPCODES: Final = 1_000_000
"""Six times what the largest member of the family needs. An opcode of one byte can make 72 bytes of objects."""
_LARGEST_KEY: Final = 1 << 48
"""Whole numbers below it hash to themselves, so that no file can choose keys that all collide."""


@dataclass(kw_only=True, slots=True, eq=False)
class Record:
    """An object that was not built: its class or function, the arguments, and the state it would have been given."""

    made_by: Global
    arguments: tuple[Value, ...] = ()
    state: Value = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PersistentId:
    """A reference to something outside the pickle; in checkpoints a tensor's storage."""

    value: Value


def read_pickle(data: bytes) -> Value:
    """Follow a pickle of protocol 2 to 5 and return what it describes.

    OrderedDict becomes dict, set becomes list, torch.Size becomes tuple; every other object is a Record.
    Raises ModelFileError if the pickle is damaged, asks for something that no checkpoint needs, or has more than
    a million opcodes.
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names with odd backslashes are refused in any case
            for opcode, argument, _ in itertools.islice(pickletools.genops(data), _MOST_OPCODES):
                if opcode.name == "STOP":
                    return machine.pop()
                machine.step(opcode.name, argument)
    except ModelFileError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"the checkpoint's pickle is damaged: {error}") from error
    raise ModelFileError(f"the checkpoint's pickle has more than {_MOST_OPCODES} opcodes: refused")


class _Mark:
    """Where a group of values on the stack begins."""


_MARK: Final = _Mark()
_IGNORED: Final = frozenset({"PROTO", "FRAME"})
_LITERALS: Final = frozenset(
    {
        "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT",
        "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
        "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    }
)  # fmt: skip
_CONSTANTS: Final[dict[str, Callable[[], Value]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
    "MARK": lambda: _MARK,
}


@dataclass(slots=True)
class _Machine:
    """The stack and the memo of a pickle, and what each opcode does to them."""

    stack: list[Value] = field(default_factory=list)
    memo: dict[int, Value] = field(default_factory=dict)

    def step(self, opcode: str, argument: object) -> None:
        """Follow one opcode."""
        if opcode in _IGNORED:
            return
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        else:
            raise ModelFileError(f"the checkpoint's pickle uses {opcode}, which no checkpoint needs: refused")

    def pop(self) -> Value:
        """Take the last value, which must not be a mark."""
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def pop_group(self) -> list[Value]:
        """Take everything after the last mark."""
        group = []
        while (value := self.stack.pop()) is not _MARK:
            group.append(value)
        return group[::-1]

    def pop_last(self, count: int) -> tuple[Value, ...]:
        """Take the last `count` values."""
        return tuple(self.pop() for _ in range(count))[::-1]

    def push_global(self, module: object, name: object) -> None:
        """Add a class's or function's name, if checkpoints need it."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a global's name is not text")
        self.stack.append(allowed_global(module, name))

    def memoize(self, index: int) -> None:
        """Remember the last value."""
        self.memo[index] = self.stack[-1]

    def extend(self, values: list[Value]) -> None:
        """Append to the list that is last on the stack."""
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError(f"expected a list, found a {type(target).__name__}")
        target.extend(values)

    def set_items(self, pairs: list[Value]) -> None:
        """Set keys and values, alternating, of the dict that is last on the stack."""
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise TypeError(f"expected a dict, found a {type(target).__name__}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[_plain_key(key)] = value

    def call(self) -> None:
        """Where a pickle would call something, keep a record of the call, or build one of three plain containers."""
        function, arguments = self.pop_last(2)
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise TypeError("a call of something that has no name")
        self.stack.append(_plain_container(function, arguments))

    def set_state(self) -> None:
        """Where a pickle would set an object's state, keep it in the record. Attributes of dicts are dropped."""
        target, state = self.pop_last(2)
        if isinstance(target, Record):
            target.state = state
        elif not isinstance(target, dict):
            raise TypeError(f"a state for a {type(target).__name__}")
        self.stack.append(target)


def _plain_key(key: Value) -> str | int | bytes | None:
    """Return a key that is cheap to hash: nested keys, or numbers of a million digits, can take for ever."""
    if key is not None and not isinstance(key, (str, int, bytes)):
        raise TypeError(f"a key must be text or a whole number, found a {type(key).__name__}")
    if isinstance(key, int) and abs(key) >= _LARGEST_KEY:
        raise ValueError(f"a key that is a number must be smaller than {_LARGEST_KEY}")
    return key


def _plain_container(function: Global, arguments: tuple[Value, ...]) -> Value:
    # Contents are not copied: a few bytes could ask for the same long list a million times.
    match str(function), arguments:
        case "collections.OrderedDict", ():
            return {}
        case "__builtin__.set" | "builtins.set", (list() as items,):
            return items
        case "torch.Size", (tuple() as sizes,):
            return sizes
        case _:
            return Record(made_by=function, arguments=arguments)


_Action = Callable[[_Machine, object], None]


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("a memo's index is not a number")
    return value


def _split_global(machine: _Machine, argument: object) -> None:
    module, _, name = str(argument).partition(" ")
    machine.push_global(module, name)


_ACTIONS: Final[dict[str, _Action]] = {
    "GLOBAL": _split_global,
    "STACK_GLOBAL": lambda machine, _: machine.push_global(*machine.pop_last(2)),
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.set_state(),
    "BINPERSID": lambda machine, _: machine.stack.append(PersistentId(value=machine.pop())),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_group())),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.pop_last(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.pop_last(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.pop_last(3)),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_group()),
    "ADDITEMS": lambda machine, _: machine.extend(machine.pop_group()),
    "SETITEM": lambda machine, _: machine.set_items(list(machine.pop_last(2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_group()),
    "BINPUT": lambda machine, argument: machine.memoize(_number(argument)),
    "LONG_BINPUT": lambda machine, argument: machine.memoize(_number(argument)),
    "MEMOIZE": lambda machine, _: machine.memoize(len(machine.memo)),
    "BINGET": lambda machine, argument: machine.stack.append(machine.memo[_number(argument)]),
    "LONG_BINGET": lambda machine, argument: machine.stack.append(machine.memo[_number(argument)]),
}
