"""The `raysail` command: one sub-command per job or tool; an error is one line and an exit code.

A command's module is imported only when that command runs, so that `raysail --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer

from bmodel.errors import ConfigurationError, RaysailError
from jobs.config.version import PRODUCT, product_version

# Typer brings a copy of click or depends on it, by version; this is the error of whichever it uses.
_USAGE_ERROR: Any = typer.BadParameter.__base__


@dataclass(frozen=True, slots=True)
class Command:
    """A sub-command: its name, where it is defined ('module:object', a function or a Typer), one line of help."""

    name: str
    target: str
    summary: str

    def load(self) -> Any:
        """Import what the command runs."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)


COMMANDS = (
    Command(
        "detect",
        "jobs.detect:command",
        "Detect objects on a set of images; commit boxes, labels, mAP, score.",
    ),
    Command(
        "evaluate",
        "jobs.commands.evaluate:command",
        "Score a finished run again, or a folder of label files.",
    ),
    Command(
        "labels", "jobs.commands.labels:command", "Write a run's label files again, in any label format."
    ),
    Command("inspect", "jobs.commands.inspect:command", "Show what a BModel or ONNX file holds."),
    Command(
        "import-weights", "jobs.commands.import_weights:command", "Convert a published checkpoint to ONNX."
    ),
    Command(
        "compile",
        "jobs.commands.compile:command",
        "Compile an ONNX file for the chip and check it on the simulator.",
    ),
    Command(
        "quantize",
        "jobs.commands.quantize:command",
        "Measure what INT8 costs and which layers to keep in FP32.",
    ),
    Command("latency", "jobs.commands.latency:command", "Show the chip's predicted time layer by layer."),
    Command("toolchain", "jobs.commands.toolchain:app", "Show or install the vendor's compiler."),
    Command("report", "jobs.commands.report:command", "Write a run's report or compare several runs."),
    Command("export", "jobs.commands.export:command", "Write a run's detections as COCO results or CSV."),
    Command(
        "submit",
        "jobs.commands.submit:command",
        "Submit a detection job to a cluster and exit with its code.",
    ),
    Command("sweep", "jobs.commands.sweep:command", "Run a study: models, sizes, precisions, batches."),
    Command(
        "reproduce",
        "jobs.commands.reproduce:command",
        "Reproduce a published result and report pass or fail.",
    ),
    Command("plan", "jobs.commands.plan:command", "Estimate images per second, hours and hosts for a job."),
    Command("node", "jobs.commands.node:command", "Start or stop this host's part of a cluster."),
    Command("doctor", "jobs.commands.doctor:command", "Check this host, its cards and its cluster."),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on these arguments, or on the process's own; ends by SystemExit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with errors_as_one_line():
        _run(_app(arguments), arguments or ["--help"], prog_name="raysail")


def run_alone(command: Callable[..., None], *, prog_name: str) -> None:
    """Run one command as a program of its own; never returns."""
    single = _typer()
    single.command()(command)
    with errors_as_one_line():
        _run(single, sys.argv[1:], prog_name=prog_name)


def _run(app: typer.Typer, arguments: Sequence[str], *, prog_name: str) -> NoReturn:
    """Run the application on these arguments; a fault in them is one line too, with exit code 2."""
    try:
        code = app(args=arguments, prog_name=prog_name, standalone_mode=False)
    except _USAGE_ERROR as error:
        message = " ".join(error.format_message().split()).rstrip(".")
        program = error.ctx.command_path if error.ctx else prog_name
        sys.stderr.write(f"raysail: {message[:1].lower()}{message[1:]}; see '{program} --help'\n")
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _typer(**options: Any) -> typer.Typer:
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **options)


def _app(arguments: Sequence[str]) -> typer.Typer:
    """The application with the chosen command loaded and the others known by name and summary."""
    app = _typer()
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)

    @app.callback()
    def _root(
        *,
        version: Annotated[
            bool,
            typer.Option("--version", help="print name and version", callback=_print_version, is_eager=True),
        ] = False,
    ) -> None:
        """Object detection over large image sets on Sophon BM1684 cards, with Ray."""

    for command in COMMANDS:
        loaded = command.load() if command.name == wanted else _only_named
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=command.name, help=command.summary)
        else:
            app.command(command.name, short_help=command.summary)(loaded)
    return app


def _only_named() -> None:
    """Stand in for a command that does not run."""


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the flag
    if wanted:
        typer.echo(f"{PRODUCT} {product_version()}")
        raise typer.Exit


@contextmanager
def errors_as_one_line() -> Iterator[None]:
    """Turn an error raised on purpose into a line on standard error and an exit code.

    The code is 2 for a mistake in the options, otherwise 1.
    """
    try:
        yield
    except (RaysailError, ValueError) as error:
        if not isinstance(error, RaysailError) and not _is_format_error(error):
            raise
        sys.stderr.write(f"raysail: {error}\n")
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt:
        sys.stderr.write("raysail: stopped\n")
        sys.exit(1)


def _is_format_error(error: ValueError) -> bool:
    from data.formats import FormatError

    return isinstance(error, FormatError)


if __name__ == "__main__":
    main()
