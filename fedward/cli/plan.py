"""`fedward plan`: write a plan, check a plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedward.new_plan import MODULE

if TYPE_CHECKING:
    from protocol.plan import Plan
    from protocol.plan.code import Code

_TOLD = "officers_are_told"
app = typer.Typer(help="Write and check the plan of a federation.", no_args_is_help=True)


@app.command()
def new(
    path: Annotated[Path | None, typer.Argument(help="File to write; printed if left out.", show_default=False)] = None,
    code: Annotated[
        bool, typer.Option("--code", help=f"With a network of your own: writes {MODULE} beside it (docs/custom-code.md).")
    ] = False,
) -> None:
    """Write a commented example plan: every key, what it means, its unit and its range."""
    from fedward.cli.new_file import write_new
    from fedward.new_plan import new_module, new_plan
    from protocol.errors import InputError

    if path is None:
        if code:
            raise InputError(
                f"--code writes two files; name the first: fedward plan new plan.yaml --code ({MODULE} beside it)."
            )
        typer.echo(new_plan(code=False), nl=False)
        return
    write_new(path, new_plan(code=code))
    if code:
        try:
            write_new(path.with_name(MODULE), new_module())
        except InputError:  # both or none
            path.unlink()
            raise
    both = f"{path} and {path.with_name(MODULE)}; edit them" if code else f"{path}; edit it"
    typer.echo(f"wrote {both}, then: fedward plan check {path}")


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
        if key != _TOLD:
            console.print(f"  {key:<18}{value}", markup=False)
    for warning in facts.get(_TOLD, ()):
        console.print(f"  {'officers are told':<18}{warning}", markup=False, style="yellow")
    print_audit(console, audit)
    print_privacy(console, privacy)


def _check(
    path: Path, shallow: bool, doing: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]:
    """Facts about the plan, its privacy and its audit. The slow part; loading torch is most of it."""
    from fedward.audited import audit_facts
    from fedward.promise import privacy_facts
    from protocol.plan import load_plan

    plan = load_plan(path)
    facts: dict[str, Any] = {"name": plan.name, "digest": plan.digest, "rounds": plan.federation.rounds}
    if plan.code is not None:
        facts |= _code_facts(plan, plan.code)
    n_trained = None
    if not shallow:
        doing("building its network and transforms" + (", its own code in the sandbox" if plan.code else ""))
        from fedward.rehearsal import rehearse

        rehearsed = rehearse(plan, path)
        n_trained = rehearsed.n_trained
        facts |= rehearsed.facts
    doing("computing what it promises patients")
    return facts, privacy_facts(plan, n_trained), audit_facts(plan)


def _code_facts(plan: Plan, code: Code) -> dict[str, Any]:
    """What the plan brings to be run, and what a data officer will be told to look at twice."""
    from privacy.coded.build import SHORTEST_TURN
    from privacy.guarantee import steps_per_round
    from privacy.turns import turns_per_step
    from protocol.plan.about_code import about, stands_for
    from protocol.plan.privacy import PatientPrivacy
    from silo_node.governance.program import read_program

    facts: dict[str, Any] = {"code": f"{about(code)}, for {stands_for(plan)}", "code_digest": code.sha256}
    if isinstance(plan.privacy, PatientPrivacy):
        a_round, a_score = turns_per_step(code, plan.privacy) * steps_per_round(plan), code.turns_per_score
        facts["turns"] = (
            f"{a_round} a round and {a_score} a scoring, whoever is drawn: at least {a_round * SHORTEST_TURN:.0f} and "
            f"{a_score * SHORTEST_TURN:.0f} s at each hospital"
        )
    warnings = read_program(code).warnings
    return facts | ({_TOLD: list(warnings)} if warnings else {})


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
