"""`fedward plan`: write a plan, check a plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

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
    from fedward.audited import print_audit
    from fedward.promise import print_privacy

    with _sign_of_life() as doing:
        facts, privacy, audit = _check(path, shallow, doing)
    if json_output:
        typer.echo(json.dumps({"valid": True, **facts, "privacy": privacy, "audit": audit}))
        return
    from rich.console import Console

    console = Console(emoji=False, highlight=False, soft_wrap=True)
    console.print(f"{path}: valid", markup=False)
    for key, value in facts.items():
        console.print(f"  {key:<18}{value}", markup=False)
    print_audit(console, audit)
    print_privacy(console, privacy)


def _check(
    path: Path, shallow: bool, doing: Callable[[str], None]
) -> tuple[dict[str, object], dict[str, Any], dict[str, Any] | None]:
    """Facts about the plan, its privacy and its audit. The slow part; loading torch is most of it."""
    from fedward.audited import audit_facts
    from fedward.promise import privacy_facts
    from protocol.plan import load_plan

    plan = load_plan(path)
    facts: dict[str, object] = {"name": plan.name, "digest": plan.digest, "rounds": plan.federation.rounds}
    n_trained = None
    if not shallow:
        doing("building its network and transforms")
        from fedward.rehearsal import rehearse

        rehearsed = rehearse(plan, path)
        n_trained = rehearsed.n_trained
        facts |= rehearsed.facts
    doing("computing what it promises patients")
    return facts, privacy_facts(plan, n_trained), audit_facts(plan)


@contextmanager
def _sign_of_life() -> Iterator[Callable[[str], None]]:
    """Something that moves on standard error, where that is a terminal; call what comes out with what is being done."""
    from rich.console import Console

    console = Console(stderr=True, emoji=False)
    if not console.is_terminal:
        yield lambda _doing: None
        return
    with console.status("reading the plan") as status:
        yield lambda doing: status.update(doing)
