"""`fedward desk`, `fedward cohorts`, `fedward submit`: what a researcher does before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from protocol.governance.researcher import Researcher

DeskOption = Annotated[Path, typer.Option("--desk", envvar="FEDWARD_DESK", help="Your desk, as `fedward desk` made it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on the last line.")]
_DESK = Path("fedward-desk")


def desk(
    name: Annotated[str, typer.Argument(help="Your name, as the hospitals' policies shall have it: a-z, 0-9 and dash.")],
    roster: Annotated[Path, typer.Option(help="The consortium's roster.json.", show_default=False)],
    share: Annotated[Path, typer.Option(help="The folder that you and the hospitals reach.", show_default=False)],
    folder: DeskOption = _DESK,
    fingerprint: Annotated[
        str | None, typer.Option(help="What the coordinator read out by telephone, instead of being asked.", show_default=False)
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Set up a researcher's desk: keys of your own, the consortium you look at, and the share."""
    from fedward.cli.telephone import compare
    from fedward.desk import make_desk, read_roster
    from protocol.consortium.fingerprint import fingerprint as spoken
    from protocol.consortium.rosters import key_fingerprint

    known = read_roster(roster)
    compare(f"the coordinator of {known.consortium}", key_fingerprint(known.coordinator), fingerprint)
    public = make_desk(folder, name, known, share)
    typer.echo(f"Your desk is in {folder}. Each hospital's data officer adds these lines to its policy:\n")
    typer.echo(f"researchers:\n  {name}: {public.hex()}\n")
    typer.echo(f"Compare by telephone: {spoken(public)}")
    if json_:
        typer.echo(json.dumps({"researcher": name, "public_key": public.hex(), "desk": str(folder)}))


def cohorts(folder: DeskOption = _DESK, json_: JsonOption = False) -> None:
    """Browse the cohorts that hospitals show you: one line and a public mock of each; no patient."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from protocol.governance.pins import name_of
    from protocol.governance.shown import shown

    opened = _open(folder)
    console = Console(stderr=json_, emoji=False, highlight=False)
    with console.status("looking at the share"):
        found = opened.cohorts()
        opened.ask_for_contact()
    table = Table(box=None, padding=(0, 3, 0, 0))
    for column in ("hospital", "cohort", "about", "mock"):
        table.add_column(column)
    for one in found:
        row = (name_of(one.hospital), one.name, one.summary, ", ".join(path.name for path in one.mock))
        table.add_row(*(Text(shown(cell)) for cell in row))
    console.print(table if found else "No hospital shows you a cohort yet. They were told that you are here.")
    if json_:
        facts = [
            {
                "hospital": name_of(one.hospital),
                "cohort": one.name,
                "summary": one.summary,
                "mock": [str(path) for path in one.mock],
            }
            for one in found
        ]
        typer.echo(json.dumps({"cohorts": facts}))


def submit(
    plan: Annotated[Path | None, typer.Argument(help="The plan; left out: what became of those handed over.")] = None,
    to: Annotated[
        list[str] | None, typer.Option("--to", help="A hospital; repeat it. Left out: all.", show_default=False)
    ] = None,
    note: Annotated[str, typer.Option(help="What the data officers should know.")] = "",
    folder: DeskOption = _DESK,
    json_: JsonOption = False,
) -> None:
    """Hand a plan over to the hospitals' data officers, encrypted and signed; without a plan: see what became of them."""
    from rich.console import Console

    console = Console(stderr=json_, emoji=False, highlight=False)
    opened = _open(folder)
    if plan is None:
        _answers(opened, console, json_)
        return
    from protocol.errors import FedwardError, TransportError
    from protocol.plan import load_plan

    wanted = load_plan(plan)
    if wanted.code is not None:
        from protocol.plan.about_code import about

        said = f"The plan brings a program: {about(wanted.code)}. Data officers read it whole; `fedward plan check` says what "
        console.print(f"{said}they are told to look at twice.", markup=False)
    done: dict[str, str] = {}
    failed: dict[str, str] = {}
    for hospital in to or sorted(opened.hospitals):
        try:
            with console.status(f"handing over to {hospital}"):
                fresh = opened.submit(wanted, hospital, note=note)
            done[hospital] = "now" if fresh else "before"
            said = "handed over, waits for its data officers" if fresh else "was handed over before; see `fedward submit`"
            console.print(f"{hospital:<16} {said}", markup=False)
        except FedwardError as error:
            failed[hospital] = str(error)
            console.print(f"{hospital:<16} not handed over: {error}", markup=False, style="yellow")
    if json_:
        brings = {"digest": wanted.digest, "code": wanted.code and wanted.code.sha256}
        typer.echo(json.dumps(brings | {"handed_over": done, "failed": failed}))
    if not done:
        raise TransportError("the plan reached no hospital; `fedward cohorts` asks them to let you in.")


def _answers(opened: Researcher, console: object, json_: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from protocol.governance.pins import name_of
    from protocol.governance.shown import shown

    if not isinstance(console, Console):
        return
    with console.status("looking at the share"):
        found = opened.answers()
    table = Table(box=None, padding=(0, 3, 0, 0))
    for column in ("plan", "hospital", "stands", "reason", "results"):
        table.add_column(column)
    for one in found:
        results = ", ".join(str(path) for path in one.results)
        row = (one.name, name_of(one.hospital), one.status, one.reason, results)
        table.add_row(*(Text(shown(cell)) for cell in row))
    console.print(table if found else "Nothing was handed over yet.")
    waiting = opened.waiting()
    for hospital, number in sorted(waiting.items()):
        console.print(f"{hospital} has not taken up {number} of your messages yet.", style="yellow", markup=False)
    if json_:
        facts = [
            {"plan": one.name, "hospital": name_of(one.hospital), "status": one.status, "reason": one.reason}
            | {"results": [str(path) for path in one.results]}
            for one in found
        ]
        typer.echo(json.dumps({"answers": facts, "waiting": waiting}))


def _open(folder: Path) -> Researcher:
    from fedward.desk import open_desk

    return open_desk(folder)
