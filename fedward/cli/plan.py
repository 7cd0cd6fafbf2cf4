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
    from protocol.errors import InputError
    from protocol.plan import plan_template

    if path is None:
        typer.echo(plan_template(), nl=False)
        return
    try:
        with path.open("x", encoding="utf-8") as handle:
            handle.write(plan_template())
    except FileExistsError as error:
        raise InputError(f"{path} exists; fedward does not overwrite plans. Choose another name.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}).") from error
    typer.echo(f"wrote {path}; edit it, then: fedward plan check {path}")


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="The plan (YAML).")],
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    shallow: Annotated[bool, typer.Option("--shallow", help="Only the text; do not build the network and transforms.")] = False,
) -> None:
    """Explain every error of a plan with its line; build its network and transforms once to see that they fit."""
    from protocol.plan import load_plan

    plan = load_plan(path)
    facts: dict[str, object] = {"name": plan.name, "digest": plan.digest, "rounds": plan.federation.rounds}
    if not shallow:
        from fedward.rehearsal import rehearse

        facts |= rehearse(plan, path)
    if json_output:
        typer.echo(json.dumps({"valid": True, **facts}))
        return
    typer.echo(f"{path}: valid")
    for key, value in facts.items():
        typer.echo(f"  {key:<18}{value}")
