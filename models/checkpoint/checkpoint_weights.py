"""From a checkpoint's objects to named tensors.

The authors save whole modules, each a record whose state holds `_parameters`, `_buffers` and `_modules`; others
save a plain dict of tensors. Both end here as `Weights`.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from bmodel.errors import ModelFileError
from models.checkpoint.checkpoint_file import CheckpointFile
from models.checkpoint.pickle_reader import Record, Value

_MOST_PARTS: Final = 20_000
"""More than any network of the family has; a checkpoint that contains itself would have no end."""
_LONGEST_NAME: Final = 200
_WRAPPERS: Final = ("ema", "model", "state_dict")
"""Where a checkpoint may keep its network; the averaged weights first, as the authors load them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """A checkpoint's network.

    tensors: by full name.
    class_names: where the checkpoint has them.
    batch_norm_eps: each recorded constant, by the full name of its batch norm.
    """

    tensors: dict[str, NDArray[Any]]
    class_names: tuple[str, ...] | None = None
    batch_norm_eps: dict[str, float]


def read_weights(path: Path) -> Weights:
    """Read the network's tensors from a checkpoint.

    Raises ModelFileError, with the file's path, if the file is no checkpoint or asks for anything to be run.
    """
    with closing(CheckpointFile(path)) as file:
        try:
            found, eps, class_names = _describe(_find_network(file.root))
        except ModelFileError as error:
            raise ModelFileError(f"{error} in '{path}'") from error
        tensors = {_plain_name(name): file.array(value, name) for name, value in found.items()}
    return Weights(
        tensors=tensors,
        class_names=class_names,
        batch_norm_eps={_plain_name(name): value for name, value in eps.items()},
    )


def _describe(network: Value) -> tuple[dict[str, Value], dict[str, float], tuple[str, ...] | None]:
    """Tensors and epsilons by name, and the class names, of a module or a dict of tensors."""
    if isinstance(network, Record):
        found, eps = _walk_modules(network)
    elif isinstance(network, dict):
        found, eps = _text_keyed(network), {}
    else:
        raise ModelFileError("the checkpoint holds no network: neither a module nor a dict of tensors")
    if not found:
        raise ModelFileError("the checkpoint holds a network without tensors")
    _check_parts(len(found))
    return found, eps, _class_names(_state(network))


def _find_network(root: Value) -> Value:
    if isinstance(root, dict):
        for key in _WRAPPERS:
            if isinstance(root.get(key), (Record, dict)):
                return root[key]
    return root


def _plain_name(name: str) -> str:
    """Drop the prefix that training on several cards adds."""
    return name.removeprefix("module.")


def _state(value: Value) -> dict[Any, Value]:
    return value.state if isinstance(value, Record) and isinstance(value.state, dict) else {}


def _members(value: Value, kind: str) -> dict[str, Value]:
    return _text_keyed(_state(value).get(kind))


def _text_keyed(value: Value) -> dict[str, Value]:
    if not isinstance(value, dict):
        return {}
    if not all(isinstance(key, str) for key in value):
        raise ModelFileError("the checkpoint names a tensor or module by something other than text")
    return value


def _walk_modules(root: Record) -> tuple[dict[str, Value], dict[str, float]]:
    """Tensors by name in a tree of module records, and each batch norm's epsilon."""
    found: dict[str, Value] = {}
    eps: dict[str, float] = {}
    waiting: list[tuple[str, Value]] = [("", root)]
    parts = 0
    while waiting:
        prefix, module = waiting.pop()
        children = _members(module, "_modules")
        tensors = _members(module, "_parameters") | _members(module, "_buffers")
        # Absent members count too: a small file can repeat a long list of them.
        parts += 1 + len(children) + len(tensors)
        _check_parts(parts)
        found.update(
            {_child_name(prefix, name): value for name, value in tensors.items() if value is not None}
        )
        epsilon = _state(module).get("eps")
        if isinstance(epsilon, float):
            eps[prefix.removesuffix(".")] = epsilon
        waiting += [
            (_child_name(prefix, name) + ".", child) for name, child in children.items() if child is not None
        ]
    return found, eps


def _check_parts(count: int) -> None:
    if count > _MOST_PARTS:
        raise ModelFileError(
            f"the checkpoint's network has more than {_MOST_PARTS} modules or tensors: refused"
        )


def _child_name(prefix: str, name: str) -> str:
    if len(prefix) + len(name) > _LONGEST_NAME:
        raise ModelFileError(
            f"a tensor's or module's name is longer than {_LONGEST_NAME} characters: refused"
        )
    return prefix + name


def _class_names(state: dict[Any, Value]) -> tuple[str, ...] | None:
    """The network's `names`: a list, or a dict by class number."""
    names = state.get("names")
    if isinstance(names, dict):
        numbers = sorted(key for key in names if isinstance(key, int))
        if 0 < len(numbers) < len(names):
            raise ModelFileError("class names must be keyed by class numbers, and some of these keys are not")
        names = [names[number] for number in numbers]
    if not isinstance(names, list) or not names:
        return None
    if not all(isinstance(name, str) and len(name) <= _LONGEST_NAME for name in names):
        raise ModelFileError(f"a class's name must be a text of at most {_LONGEST_NAME} characters")
    return tuple(names)
