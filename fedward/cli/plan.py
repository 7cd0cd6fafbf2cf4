"""`fedward plan`: write a plan, check a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Write and check the plan of a federation.", no_args_is_help=True)


@app.command()
def new(
    path: Annotated[Path | None, typer.Argument(help="File to write; printed if left out.", show_default=False)] = None,
) -> None:
    """Write a commented example plan: every key, what it means, its unit and its range."""
    from fedward.cli.new_file import write_new
    from protocol.plan import plan_template

    if path is None:
        typer.echo(plan_template(), nl=False)
        return
    write_new(path, plan_template())
    typer.echo(f"wrote {path}; edit it, then: fedward plan check {path}")


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="The plan (YAML).")],
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    shallow: Annotated[bool, typer.Option("--shallow", help="Only the text; do not build the network and transforms.")] = False,
) -> None:
    """Explain every error of a plan with its line, build its network and transforms once, and say what it promises patients."""
    from fedward.promise import print_privacy, privacy_facts
    from protocol.plan import load_plan

    plan = load_plan(path)
    facts: dict[str, object] = {"name": plan.name, "digest": plan.digest, "rounds": plan.federation.rounds}
    n_trained = None
    if not shallow:
        from fedward.rehearsal import rehearse

        rehearsed = rehearse(plan, path)
        n_trained = rehearsed.n_trained
        facts |= rehearsed.facts
    privacy = privacy_facts(plan, n_trained)
    if json_output:
        typer.echo(json.dumps({"valid": True, **facts, "privacy": privacy}))
        return
    from rich.console import Console

    console = Console(emoji=False, highlight=False, soft_wrap=True)
    console.print(f"{path}: valid", markup=False)
    for key, value in facts.items():
        console.print(f"  {key:<18}{value}", markup=False)
    print_privacy(console, privacy)
