"""A YAML file of options: one mapping, no key twice, and no surprise that a plain YAML loader would let pass."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from bmodel.errors import ConfigurationError
from jobs.config.detect_config import DetectConfig, describe_validation_error, parse_config
from jobs.config.paths import why_not_a_file


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


class FilePart(BaseModel):
    """A mapping of such a file: keys with `-` for `_`, none that is unknown."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=option_name, populate_by_name=True, allow_inf_nan=False
    )


Part = TypeVar("Part", bound=FilePart)


def read_job_file(path: Path, kind: type[Part]) -> Part:
    """Read and check such a file; raises ConfigurationError naming key, rule, value and file."""
    if reason := why_not_a_file(path):
        raise ConfigurationError(f"FILE: must be a YAML file, and '{path}' {reason}")
    try:
        return kind.model_validate(read_yaml_mapping(path))
    except ValidationError as error:
        raise ConfigurationError(
            f"{describe_validation_error(error).removeprefix('--')} in '{path}'"
        ) from None


def config_of(options: Mapping[str, Any], own: Mapping[str, Any], *, place: Path) -> DetectConfig:
    """The configuration of one run: the file's options, and what the file says elsewhere.

    own: options that such a file must not repeat among its options. Raises ConfigurationError naming option, rule,
    value and file.
    """
    given = {option_name(key): value for key, value in options.items()}
    for name in given.keys() & own.keys():
        raise ConfigurationError(f"options.{name}: is said elsewhere in the file, in '{place}'")
    try:
        return parse_config({**given, **own})
    except ConfigurationError as error:
        raise ConfigurationError(f"options.{str(error).removeprefix('--')} in '{place}'") from None
