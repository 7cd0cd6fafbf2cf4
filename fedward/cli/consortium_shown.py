"""What `fedward consortium` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from aggregator.consortium.office import Office
    from protocol.consortium.records import Roster


def tell(office: Office, roster: Roster, json_: bool, sentence: str) -> None:
    """What was done; then the broker is told, which may fail after everything is written."""
    from dataclasses import asdict

    from aggregator.consortium.reload import reload_broker
    from aggregator.consortium.summary import summary

    if not json_:
        typer.echo(sentence)
        typer.echo(f"Roster {roster.sequence}. Coordinator's fingerprint: {summary(office, roster)['coordinator_fingerprint']}")
    told = reload_broker(office, roster)
    if json_:
        typer.echo(json.dumps(summary(office, roster) | {"broker": asdict(told) if told else None}))
    elif told:
        silos = "the account of 1 silo answers" if told.accounts == 1 else f"the accounts of {told.accounts} silos answer"
        typer.echo(f"The broker was told: {silos}, after {told.seconds:.1f} s.")
    elif roster.sequence > 1:
        typer.echo("The broker does not run here: copy the folder broker/ to its machine, and send it SIGHUP twice if it runs.")


def print_consortium(facts: dict[str, Any]) -> None:
    """A table of parties, and the fingerprints."""
    from rich.console import Console
    from rich.table import Table

    from aggregator.consortium.summary import ends_soon

    table = Table("party", "state", "fingerprint of its identity", "certificate until", title_justify="left")
    table.title = f"Consortium {facts['consortium']}, roster {facts['sequence']}"
    for party in (facts["aggregator"], *facts["silos"]):
        until = party["certificate_until"]
        state = party["state"] + (f", {party['former_keys']} old key still taken" if party["former_keys"] else "")
        soon = " renew now" if party["state"] == "active" and ends_soon(until) else ""
        table.add_row(party["name"], state, party["identity_fingerprint"], until[:10] + soon)
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    console.print(table)
    for words in ("coordinator", "roster"):
        console.print(f"Fingerprint of the {words:<12} {facts[f'{words}_fingerprint']}")
    soon = " renew now: fedward consortium rotate broker" if ends_soon(facts["broker_until"]) else ""
    console.print(
        f"Broker {facts['url']}, certificate until {facts['broker_until'][:10]}{soon}; CA until {facts['ca_until'][:10]}"
    )
