"""`raysail submit`: `ray job submit` with what is easily forgotten: token, code, absolute output, exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bmodel.errors import ConfigurationError
from cluster.submit import DEFAULT_JOB_SERVER, JobServer
from jobs.config.paths import why_not_a_folder
from jobs.config.yaml_file import read_yaml_mapping


def command(
    arguments: Annotated[
        list[str], typer.Argument(metavar="-- OPTIONS", help="the options of raysail detect, after --")
    ],
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help=f"the job server [RAY_API_SERVER_ADDRESS or {DEFAULT_JOB_SERVER}]"),
    ] = None,
    working_dir: Annotated[
        Path | None, typer.Option(help="folder to send with the job [this checkout, or the code that runs]")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="do not wait for the job to end")] = False,  # noqa: FBT002
) -> None:
    """Submit a detection job to a running cluster, show its log, and exit with its exit code."""
    check_output(arguments)
    if working_dir is not None and (reason := why_not_a_folder(working_dir)):
        raise ConfigurationError(f"--working-dir: must be a folder, and '{working_dir}' {reason}")
    server = JobServer(address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_JOB_SERVER)
    submission_id = server.submit(arguments, working_dir=working_dir.resolve() if working_dir else None)
    _say(f"Submitted {submission_id}. To stop it:  ray job stop --address {server.url} {submission_id}")
    if detach:
        raise typer.Exit(0)
    try:
        raise typer.Exit(server.follow(submission_id, sys.stdout.write))
    except KeyboardInterrupt:
        _say(f"{submission_id} keeps running.")
        raise


def check_output(arguments: Sequence[str]) -> None:
    """Raise ConfigurationError unless the job's output is absolute or a URL, before anything is sent."""
    output = last_value(arguments, "--output")
    config = last_value(arguments, "--config")
    if output is None and config is not None and Path(config).is_file():
        output = read_yaml_mapping(Path(config)).get("output")
    elif output is None and config is not None:
        return  # it lies on the cluster, where the job reads and checks it
    if output is None:
        raise ConfigurationError("--output: is required for a submitted job, an absolute path or a URL")
    if "://" not in str(output) and not Path(str(output)).is_absolute():
        raise ConfigurationError(
            f"--output: must be absolute or a URL for a submitted job, got '{output}': a relative path would lie in "
            "the job's temporary folder and be deleted with it"
        )


def last_value(arguments: Sequence[str], option: str) -> str | None:
    """The value that an option has on a command line: the last one counts, as `--option V` or `--option=V`."""
    value = None
    for position, argument in enumerate(arguments):
        if argument == option and position + 1 < len(arguments):
            value = arguments[position + 1]
        elif argument.startswith(f"{option}="):
            value = argument[len(option) + 1 :]
    return value


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()
