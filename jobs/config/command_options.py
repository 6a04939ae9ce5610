"""The command line of a configuration: one option per field, nothing stated twice."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobs.config.detect_config import DetectConfig, parse_config
from jobs.config.yaml_file import option_name


def detect_command(run: Callable[[DetectConfig], int]) -> Callable[..., None]:
    """A typer command that takes every option of DetectConfig, and --config, and exits with `run`'s code."""

    def command(**options: Any) -> None:
        config_file = options.pop("config")
        raise typer.Exit(run(parse_config(given_options(options), config_file=config_file)))

    config = inspect.Parameter(
        "config",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            Path | None,
            typer.Option("--config", metavar="FILE.yaml", help="options as YAML; the command line wins"),
        ],
    )
    command.__signature__ = signature_of(DetectConfig, config)  # type: ignore[attr-defined]
    command.__doc__ = (
        "Detect objects on every image of a set and commit boxes, labels, mAP, latency and score."
    )
    return command


def signature_of(configuration: type[BaseModel], *more: inspect.Parameter) -> inspect.Signature:
    """The signature of a command that takes a configuration's fields as options, and more."""
    fields = configuration.model_fields.items()
    return inspect.Signature([*(_parameter(name, field) for name, field in fields), *more])


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the command line gives, by their names there; None marks one that it leaves out."""
    return {option_name(name): value for name, value in options.items() if value is not None}


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """The option of a configuration's field; its value stays text for the configuration to check."""
    flag = "--" + option_name(name)
    shown_default = "" if field.default in (None, False) or field.is_required() else f" [{field.default}]"
    help_text = f"{field.description}{shown_default}"
    if field.annotation is bool:
        # A YAML file may set it too, so the command line needs a way to clear it.
        annotation: Any = Annotated[bool | None, typer.Option(f"{flag}/{_opposite(name)}", help=help_text)]
    else:
        annotation = Annotated[str | None, typer.Option(flag, metavar=_metavar(field), help=help_text)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _opposite(name: str) -> str:
    """The flag that clears a boolean option: `--no-resume` for `resume`, `--wait` for `no_wait`."""
    return "--" + option_name(name.removeprefix("no_") if name.startswith("no_") else f"no_{name}")


def _metavar(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return "|".join(get_args(field.annotation))
    if isinstance(field.json_schema_extra, dict) and (metavar := field.json_schema_extra.get("metavar")):
        return str(metavar)
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)] or [field.annotation]
    return {int: "N", float: "X", Path: "FILE"}.get(kinds[0], "TEXT")
