"""`raysail toolchain`: show or install the vendor's compiler and the chip simulator."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from bmodel.compiler.python310 import find_python310
from bmodel.compiler.toolchain import find_toolchain
from bmodel.compiler.toolchain_install import install_toolchain
from bmodel.errors import LibraryError, RaysailError
from bmodel.libraries import (
    TPU_MLIR_VERSION,
    cache_folder,
    find_simulator_libraries,
    install_simulator_libraries,
)
from jobs.console.stop_signals import stoppable

app = typer.Typer(
    help="The vendor's compiler (ONNX to BModel) and the chip simulator.",
    invoke_without_command=True,
    add_completion=False,
)


@app.callback()
def show(context: typer.Context) -> None:
    """Show what is installed, where, and what is missing."""
    if context.invoked_subcommand is None:
        for line in describe_state():
            typer.echo(line)


@app.command()
def install(
    *,
    python: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Python 3.10 to use [the first one found]")
    ] = None,
    simulator_only: Annotated[
        bool,
        typer.Option(
            "--simulator-only", help="install only the simulator's three libraries; any Python will do"
        ),
    ] = False,
) -> None:
    """Install compiler and simulator (0.5 GB download, 1.8 GB on disk); repeatable."""
    with stoppable():
        if simulator_only:
            typer.echo("downloading the compiler's wheel, 312 MB", err=True)
            install_simulator_libraries()
        else:
            install_toolchain(python=python, report=lambda line: typer.echo(line, err=True))
    for line in describe_state():
        typer.echo(line)


def describe_state() -> list[str]:
    """Describe what is installed, as lines."""
    folder = cache_folder()
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    return [
        f"cache folder   {folder} ({free / 1e9:.1f} GB free; RAYSAIL_CACHE names another)",
        f"compiler       {_found(_compiler)}",
        f"simulator      {_found(_simulator)}",
        f"Python 3.10    {_found(_python)}",
    ]


def _found(find: Callable[[], str]) -> str:
    try:
        return find()
    except RaysailError as error:
        return f"missing: {error}" if isinstance(error, LibraryError) else str(error)


def _compiler() -> str:
    toolchain = find_toolchain()
    record = toolchain.record
    return f"tpu_mlir {record.tpu_mlir} for Python {record.python}, installed {record.installed_at}, {toolchain.folder}"


def _simulator() -> str:
    return f"libbmrt of tpu_mlir {TPU_MLIR_VERSION}, {find_simulator_libraries().runtime.parent}"


def _python() -> str:
    return str(find_python310())
