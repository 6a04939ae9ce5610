"""`raysail doctor`: whether this host, its cards and its cluster are fit for work, and what to do if not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from jobs.doctor.host_checks import (
    Check,
    check_disks,
    check_packages,
    check_python,
    check_simulator,
    check_toolchain,
    run_checks,
)

WIDTH = 80
SIGNS = {"ok": "ok", "note": "note", "fail": "FAIL"}


def command(
    *,
    model: Annotated[Path | None, typer.Option(metavar="FILE", help="also check this model file")] = None,
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="check this Ray cluster [RAY_ADDRESS]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Check this host, its cards and its cluster; the exit code is 1 if anything fails."""
    checks = examine(model=model, address=address)
    failed = sum(check.status == "fail" for check in checks)
    if as_json:
        content = {"ok": not failed, "checks": [asdict(check) for check in checks]}
        sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    else:
        print_checks(checks)
        notes = sum(check.status == "note" for check in checks)
        sys.stdout.write(f"\n{len(checks)} checks: {failed} failed, {notes} with a note.\n")
    raise typer.Exit(1 if failed else 0)


def examine(*, model: Path | None, address: str | None) -> list[Check]:
    """Run every check."""
    return run_checks(
        [
            ("packages", check_packages),
            ("Python", check_python),
            ("disk", check_disks),
            ("cards", _cards),
            ("driver", _driver),
            ("SAIL", _sail),
            ("model", lambda: _model(model)),
            ("Ray", lambda: _cluster(address)),
            ("simulator", check_simulator),
            ("compiler", check_toolchain),
        ]
    )


def print_checks(checks: Sequence[Check]) -> None:
    """Print a table of 80 columns; a hint stands below its check."""
    table = Table(width=WIDTH, show_header=False, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for check in checks:
        table.add_row(check.name, SIGNS[check.status], check.found)
        if check.hint:
            table.add_row("", "", f"→ {check.hint}")
    Console(file=sys.stdout, width=WIDTH, highlight=False, markup=False).print(table)


# Imported only when their turn comes: another distribution's `cluster` must become a finding, not an ImportError.


def _cards() -> Iterator[Check]:
    from jobs.doctor.cluster_checks import check_cards

    return check_cards()


def _driver() -> Iterator[Check]:
    from jobs.doctor.cluster_checks import check_driver

    return check_driver()


def _sail() -> Iterator[Check]:
    from jobs.doctor.cluster_checks import check_sail

    return check_sail()


def _model(model: Path | None) -> Iterator[Check]:
    from jobs.doctor.cluster_checks import check_model

    return check_model(model) if model is not None else iter(())


def _cluster(address: str | None) -> Iterator[Check]:
    from jobs.doctor.cluster_checks import check_cluster

    return check_cluster(address)
