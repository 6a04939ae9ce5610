"""The `raysail` command: one sub-command a job or tool; an error is one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from bmodel.errors import ConfigurationError, RaysailError
from jobs.configuration import DetectConfig
from jobs.options import detect_command

app = typer.Typer(
    name="raysail",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _detect(config: DetectConfig) -> int:
    from jobs.detect import detect  # Ray takes half a second to import; --help need not wait for it

    return detect(config)


@app.callback()
def _root() -> None:
    """Object detection over large image sets on Sophon BM1684 cards, with Ray."""


app.command("detect")(detect_command(_detect))


def main() -> None:
    """Run the command line; never returns."""
    sys.exit(_exit_code(lambda: app(standalone_mode=False)))


def run_command(command: Callable[..., None], *, prog_name: str) -> None:
    """Run one command as a program of its own; never returns."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    single.command()(command)
    sys.exit(_exit_code(lambda: single(standalone_mode=False, prog_name=prog_name)))


def _exit_code(run: Callable[[], object]) -> int:
    """0 done, 1 the run failed, 2 wrong usage or configuration; a command may choose another."""
    from typer import _click as click

    try:
        code = run()
    except typer.Exit as stop:
        return stop.exit_code
    except click.exceptions.ClickException as error:
        error.show()
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("raysail: stopped\n")
        return 1
    except (RaysailError, ValueError) as error:
        if not _is_ours(error):
            raise
        sys.stderr.write(f"raysail: {error}\n")
        return 2 if isinstance(error, ConfigurationError) else 1
    return code if isinstance(code, int) else 0


def _is_ours(error: Exception) -> bool:
    from data.formats import FormatError

    return isinstance(error, (RaysailError, FormatError))
