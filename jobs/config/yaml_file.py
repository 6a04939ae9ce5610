"""A YAML file of options: one mapping, no key twice, and no surprise that a plain YAML loader would let pass."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from bmodel.errors import ConfigurationError


def option_name(key: str) -> str:
    """The name of an option: a field or key with `-` for `_`."""
    return key.replace("_", "-")


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that must hold one mapping with text keys, none of them twice; `_` in a key becomes `-`."""
    try:
        document = yaml.load(path.read_bytes(), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader, made stricter
    except OSError as error:
        raise ConfigurationError(f"--config: cannot read '{path}': {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no text, a date that is none
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


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice instead of taking the last."""

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
