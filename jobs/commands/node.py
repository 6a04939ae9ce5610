"""`raysail node start` and `raysail node stop`: this host's part of a cluster."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bmodel.errors import ConfigurationError
from cluster.cards.card_slots import card_numbers, card_resources
from cluster.cards.find_cards import find_cards
from cluster.node import NodeOptions, ensure_token, exporters_list, has_token, run_node, start_node, stop_node

command = typer.Typer()


@command.command("start")
def start(
    head: Annotated[bool, typer.Option("--head", help="start a new cluster on this host")] = False,  # noqa: FBT002
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="the head of the cluster to join")
    ] = None,
    port: Annotated[int, typer.Option(help="the head's port", min=0, max=65535)] = 6379,
    dashboard_port: Annotated[
        int,
        typer.Option(help="the head's port for jobs and the dashboard, loopback only", min=0, max=65535),
    ] = 8265,
    virtual_cards: Annotated[
        int | None,
        typer.Option(metavar="N", help="register N virtual cards, for devices that need no card", min=1),
    ] = None,
    exclude: Annotated[
        str | None, typer.Option(metavar="IDS", help="numbers of cards to leave alone, like 0,3")
    ] = None,
    block: Annotated[  # noqa: FBT002
        bool, typer.Option("--block", help="stay in the foreground, for a service manager")
    ] = False,
) -> None:
    """Register this host's cards with a Ray cluster that requires its token from every client."""
    if head == (address is not None):
        raise ConfigurationError("node start: needs either --head or --address HOST:PORT")
    resources = _resources(virtual_cards, exclude)
    options = NodeOptions(address=address, port=port, resources=resources, dashboard_port=dashboard_port)
    if head and (made := ensure_token()):
        _say(f"A new token is in {made}; every host and client of the cluster needs a copy of that file.")
    if not has_token():
        raise ConfigurationError(
            "node start: this host has no token; copy the head's ~/.ray/auth_token here, or set RAY_AUTH_TOKEN"
        )
    if block:
        raise typer.Exit(run_node(options))
    node = start_node(options)
    _say(f"The node is up (process {node.pid}); Ray's output is in {node.log}.")
    if head:
        _say(f"For Prometheus:    {exporters_list(options)}")
        _say(f"On the next host:  raysail node start --address {node.address}")
        _say(f"A job from here:   raysail detect --address {node.address} --images ... --model ...")


@command.command("stop")
def stop() -> None:
    """Stop the node that `raysail node start` started on this host, and nothing else."""
    node = stop_node()
    _say(
        "No Raysail node is running on this host."
        if node is None
        else f"Stopped the node (process {node.pid})."
    )


def _resources(virtual_cards: int | None, exclude: str | None) -> dict[str, float]:
    excluded = card_numbers(exclude) if exclude is not None else ()
    if virtual_cards is not None:
        if excluded:
            raise ConfigurationError("--exclude: applies to real cards, and --virtual-cards registers none")
        return card_resources(range(virtual_cards), virtual=True)
    found = find_cards(exclude=excluded)
    if found.left_out:
        _say(f"Left alone: {', '.join(map(str, found.left_out))}.")
    if not found.device_ids:
        _say(
            "There is no other card on this host."
            if found.left_out
            else "No card was found on this host; --virtual-cards N registers virtual ones."
        )
        return {}
    _say(f"Cards {', '.join(map(str, found.device_ids))}, found by {found.source}.")
    return card_resources(found.device_ids, virtual=False)


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
