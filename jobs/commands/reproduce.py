"""`raysail reproduce`: reproduce a published result on up to two image sets, measured beside published."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from bmodel.errors import ConfigurationError

DETECTIONS_OUTPUT: Final = Path("result/comparison")


def command(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE.yaml", help="what to reproduce, like jobs/bset.yaml")
    ] = None,
    *,
    published: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="published detection files to compare ours with"),
    ] = None,
    detections: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="our detection files: only compare, without FILE.yaml or a run"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="device, as for raysail detect [the file's]")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="folder for page and runs [the file's]")
    ] = None,
) -> None:
    """Check that everything is there, run it, and print measured beside published: pass, fail or not measurable."""
    if (file is None) == (detections is None):
        raise ConfigurationError("FILE.yaml or --detections: exactly one of the two must be given")
    if file is not None:
        raise typer.Exit(reproduce(file, published=published, device=device, output=output))
    if published is None or detections is None:
        raise ConfigurationError("--published: is required with --detections")
    from jobs.study.run_reproduction import compare_only

    sys.stdout.write(compare_only(published, detections, output=output or DETECTIONS_OUTPUT))


def reproduce(path: Path, *, published: Path | None, device: str | None, output: Path | None) -> int:
    """Check, run and judge; returns the exit code: 0 if something passed and nothing failed, 2 for faults, otherwise 1.

    Faults are one line each on standard error; nothing runs then. Raises RaysailError.
    """
    from jobs.study.reproduction_file import Reproduction, prepare
    from jobs.study.run_once import read_job_file
    from jobs.study.run_reproduction import run

    file = read_job_file(path, Reproduction)
    if output is not None:
        file = file.model_copy(update={"output": output})
    found = prepare(file, place=path, device=device, published=published)
    if found.faults:
        sys.stderr.writelines(f"raysail: {line}\n" for line in (*found.faults, *found.absent.values()))
        return 2
    if not found.ready:
        raise ConfigurationError(f"nothing to run: {'; '.join(found.absent.values())}")
    verdict, page = run(file, found, published=published)
    sys.stdout.write(page)
    return 0 if verdict == "pass" else 1


if __name__ == "__main__":
    from jobs.command_line import run_alone

    run_alone(command, prog_name="python -m jobs.commands.reproduce")
