"""A YAML file that describes more than one run: what the files of `raysail sweep` and `raysail reproduce` share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bmodel.errors import ConfigurationError
from jobs.config.detect_config import DetectConfig, describe_validation_error, parse_config
from jobs.config.paths import why_not_a_file
from jobs.config.yaml_file import option_name, read_yaml_mapping


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
