"""`raysail plan`: how fast a fleet would be, what limits it, and how many hosts a deadline needs."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from jobs.config.command_options import given_options, signature_of
from jobs.plan.fleet_plan import card_of, costs_of, make_plan, page
from jobs.plan.plan_options import PlanOptions, parse_options


def _command(**options: Any) -> None:
    as_json = options.pop("as_json")
    parsed = parse_options(given_options(options))
    card, spec = card_of(parsed)
    plan = make_plan(parsed, costs_of(parsed, spec), card)
    typer.echo(plan.model_dump_json(indent=2) if as_json else page(plan), nl=as_json)


_AS_JSON = inspect.Parameter(
    "as_json",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--json", help="print the whole plan as JSON")],
)
_command.__signature__ = signature_of(PlanOptions, _AS_JSON)  # type: ignore[attr-defined]
_command.__doc__ = "Work out how fast a fleet would be, what limits it, and how many hosts a deadline needs."
command = _command

if __name__ == "__main__":
    from jobs.command_line import run_alone

    run_alone(command, prog_name="python -m jobs.commands.plan")
