"""`fedward silo serve` and `preflight`: the node that stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

ConfigArgument = Annotated[Path, typer.Argument(help="The hospital's configuration; `fedward silo serve --new` writes one.")]

_TEMPLATE = """\
# A hospital's node. Paths are relative to this file. docs/silo.md explains each line.
schema: fedward.silo/1
kit: fedward-silo        # made by `fedward silo join`
store: stores/north      # the cohort store that takes part
state: state             # models, caches, and the node's place in its jobs
device: auto
health: {port: 9464}     # /healthz, /readyz and /metrics on 127.0.0.1
log: json
# policy: north.policy.yaml          left out: beside the store; it must say who approves plans (docs/governance.md)
# ledger: north.ledger.jsonl         left out: beside the store
# proxy: http://proxy.hospital:3128  one that knows CONNECT
"""


def serve(
    config: ConfigArgument = Path("silo.yaml"),
    new: Annotated[bool, typer.Option("--new", help="Write a commented configuration and end.")] = False,
) -> None:
    """Answer the aggregator until SIGTERM. Reaches out only: no port of this hospital is opened to the network."""
    if new:
        from fedward.cli.new_file import write_new

        write_new(config, _TEMPLATE)
        typer.echo(f"Wrote {config}. Name kit and store in it, then `fedward silo preflight {config}`.")
        return
    from protocol.consortium.folder import PartyFolder, ready
    from protocol.service_lock import only_one
    from protocol.service_log import start_log
    from silo_node.service.config import load_config, places

    wanted = load_config(config)
    where = places(wanted, config.absolute().parent)
    ready(PartyFolder(where.kit))
    with only_one(where.kit / "serve.lock", "fedward silo serve"):  # two would answer, mask and pay in each other's place
        start_log(wanted.log)
        from silo_node.service.serve import Service

        Service(wanted, where).run()


def preflight(
    config: ConfigArgument = Path("silo.yaml"),
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object, last.")] = False,
) -> None:
    """Check everything a node needs before it serves: one line each, with what to do. Ends with 4 if something fails."""
    from rich.console import Console

    from protocol.errors import SiloError
    from silo_node.service.config import load_config, places

    wanted = load_config(config)
    console = Console(stderr=json_, emoji=False, highlight=False)
    with console.status("loading"):
        from silo_node.service.preflight import preflight as checks
    found = []
    colours = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    for check in checks(wanted, places(wanted, config.absolute().parent)):
        found.append(check)
        console.print(f"[{colours[check.verdict]}]{check.verdict:<8}[/]", end="")
        console.print(f"{check.name:<12} {check.says}", markup=False, soft_wrap=True)
        if check.verdict != "ok" and check.do:
            console.print(f"{'':<21} -> {check.do}", markup=False, soft_wrap=True, style="dim")
    failed = [check.name for check in found if check.verdict == "failed"]
    if json_:
        facts = [{"name": one.name, "verdict": one.verdict, "says": one.says, "do": one.do} for one in found]
        typer.echo(json.dumps({"ready": not failed, "checks": facts}))
    if failed:
        raise SiloError(f"not ready: {', '.join(failed)}. Mend what the lines say and check again.")
