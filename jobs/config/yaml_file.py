"""A YAML file of options: one mapping, no duplicate keys, and none of the surprises that a plain YAML loader allows."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict

from bmodel.errors import ConfigurationError
from bmodel.validation import ExactModel

# Of a file, and of what its aliases make of it.
LARGEST_FILE_BYTES = 1_000_000
MOST_NODES = 100_000


def option_name(key: str) -> str:
    """The name of an option: a field or key with `-` for `_`."""
    return key.replace("_", "-")


class OptionsModel(ExactModel):
    """A mapping whose keys have `-` for `_`, as on the command line and in YAML; no number is infinite or NaN."""

    model_config = ConfigDict(alias_generator=option_name, populate_by_name=True, allow_inf_nan=False)


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that must hold one mapping with text keys, no duplicates; `_` in a key becomes `-`."""
    try:
        data = path.read_bytes()
        if len(data) > LARGEST_FILE_BYTES:
            raise ConfigurationError(
                f"--config: '{path}' must have at most {LARGEST_FILE_BYTES} bytes, got {len(data)}"
            )
        document = yaml.load(data, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader, made stricter
    except OSError as error:
        raise ConfigurationError(f"--config: cannot read '{path}': {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are not text, an impossible date
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"--config: '{path}' is not YAML: {reason}") from None
    except RecursionError:
        raise ConfigurationError(f"--config: '{path}' is nested too deeply") from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ConfigurationError(f"--config: '{path}' must hold one mapping of option names to values")
    return _by_option_name(document, path)


def _by_option_name(document: dict[str, Any], path: Path) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for key, value in document.items():
        if option_name(key) in named:
            raise ConfigurationError(
                f"--config: '{path}' gives the key '{option_name(key)}' twice, once with '_'"
            )
        named[option_name(key)] = value
    return named


def _check_size(node: yaml.Node | None) -> None:
    """Raise YAMLError for a file whose aliases multiply it: a few hundred bytes can stand for billions of values."""
    sizes: dict[int, int] = {}

    def size(one: yaml.Node) -> int:
        if id(one) not in sizes:
            sizes[id(one)] = MOST_NODES + 1  # what a node that contains itself would come to
            children = (
                [part for pair in one.value for part in pair]
                if isinstance(one, yaml.MappingNode)
                else (one.value if isinstance(one, yaml.SequenceNode) else ())
            )
            sizes[id(one)] = 1 + sum(map(size, children))
        return sizes[id(one)]

    if node is not None and size(node) > MOST_NODES:
        raise yaml.YAMLError(f"it stands for more than {MOST_NODES} values")


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice instead of taking the last, and aliases that multiply."""

    def get_single_node(self) -> yaml.Node | None:
        """The document's node, once its size is checked."""
        node = super().get_single_node()
        _check_size(node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if not isinstance(key, Hashable):
                break  # refused by the loader itself
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
