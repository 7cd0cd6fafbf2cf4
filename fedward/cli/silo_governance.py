"""`fedward silo officer / requests / show / approve / reject / withdraw`: which plan may touch the cohort."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from protocol.governance.standing import Standing
    from protocol.identity import Identity
    from silo_node.governance.office import Office
    from silo_node.governance.requests import Request

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The hospital's configuration, that of `silo serve`.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on the last line.")]
PlanArgument = Annotated[str, typer.Argument(help="The plan: its name, or the first letters of its digest.")]
OfficerOption = Annotated[str, typer.Option("--as", help="Your name, as the policy's `officers` has it.", show_default=False)]
KeyOption = Annotated[
    Path | None, typer.Option(help="Your key; left out: where `fedward silo officer` put it.", show_default=False)
]
WhyOption = Annotated[str, typer.Option("--reason", help="Why; the researcher reads it.", show_default=False)]
CONFIG = Path("silo.yaml")


@dataclass(frozen=True)
class Opened:
    """The desk of the hospital in a configuration, and the hospital's own identity."""

    office: Office
    identity: Identity


def open_office(config: Path) -> Opened:
    """The desk that `config` describes. Raises InputError, ConsortiumError, ApprovalError."""
    from protocol.consortium.folder import PartyFolder, ready
    from silo_node.governance.office import Desk, Office
    from silo_node.policy import load_policy
    from silo_node.service.config import load_config, places

    where = places(load_config(config), config.absolute().parent)
    kit = PartyFolder(where.kit)
    name, roster = ready(kit)
    desk = Desk(name, roster.consortium, where.governance, where.kit, where.share)
    return Opened(Office(load_policy(where.policy), desk), kit.open_identity())


def key_of(name: str, key: Path | None) -> Path:
    """Where an officer's key lies."""
    if key is not None:
        return key
    import platformdirs

    return platformdirs.user_data_path("fedward") / "officers" / f"{name}.key"


def officer(
    name: Annotated[str, typer.Argument(help="Your name, as it shall stand in the policy.")],
    key: Annotated[Path | None, typer.Option(help="Where to put the key.", show_default=False)] = None,
    json_: JsonOption = False,
) -> None:
    """Make (or show) a data officer's key. Hospital IT writes the public half into the policy; the key stays with you."""
    from protocol.consortium.fingerprint import fingerprint
    from protocol.identity import Identity

    place = key_of(name, key)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    public = Identity.open(place).public_key
    typer.echo("Hospital IT adds these lines to the policy file:\n")
    typer.echo(f"approval: officers\nofficers:\n  {name}: {public.hex()}\n")
    typer.echo(f"Compare by telephone: {fingerprint(public)}")
    typer.echo(f"The key lies in {place} and never leaves this account. Back it up.")
    if json_:
        typer.echo(json.dumps({"officer": name, "public_key": public.hex(), "key": str(place)}))


def requests(
    config: ConfigOption = CONFIG,
    offline: Annotated[bool, typer.Option("--offline", help="Do not look for new ones.")] = False,
    json_: JsonOption = False,
) -> None:
    """List the plans that were handed over, and how each stands."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from protocol.governance.shown import shown

    opened, console = open_office(config), Console(stderr=json_, emoji=False, highlight=False)
    _sync(opened, console, offline)
    found = opened.office.requests()
    table = Table(box=None, padding=(0, 3, 0, 0), show_header=bool(found))
    for column in ("plan", "digest", "from", "handed over", "stands"):
        table.add_column(column)
    for one, standing in found:
        cover = one.handed_over.cover
        row = (one.handed_over.plan.name, _short(one), cover.researcher, cover.at[:10], f"{standing.status} {standing.why}")
        table.add_row(*(Text(shown(cell)) for cell in row), style=_COLOURS[standing.status])
    console.print(table if found else "No plan was handed over yet.")
    if json_:
        typer.echo(json.dumps({"requests": [_facts(one, standing) for one, standing in found]}))


def show(plan: PlanArgument, config: ConfigOption = CONFIG, json_: JsonOption = False) -> None:
    """Read one plan: in plain words, what differs from the plan approved last, its digest, who signed it, its program."""
    from rich.console import Console
    from rich.text import Text

    from fedward.cli.program_shown import print_change, print_program, program_facts
    from protocol.governance.shown import shown
    from silo_node.governance.words import plain_words

    opened = open_office(config)
    request = opened.office.find(plan)
    standing = opened.office.approvals.standing(request.digest)
    console = Console(stderr=json_, emoji=False, highlight=False)
    cover = request.handed_over.cover
    console.print(Text(shown(request.handed_over.plan.title or request.handed_over.plan.name), "bold"))
    console.print(f"  digest   {request.digest}\n  signed   by {shown(cover.researcher)} on {shown(cover.at)}", markup=False)
    if cover.note:
        console.print(f"  note     {shown(cover.note)}", markup=False)
    console.print(Text.assemble("  stands   ", _stands(standing), "\n"))
    lines = plain_words(request.handed_over.plan)
    for line in lines:
        console.print(f"[bold]{line.question}[/]")
        console.print(f"  {shown(line.answer)}", style="bold yellow" if line.loud else None, markup=False)
    changed = opened.office.since_last_approval(request)
    if changed is not None:
        console.print(f"\n[bold]What differs from the plan approved last[/] ({changed[0][:19]}…)")
        for change in changed[1]:
            print_change(console, change)
    print_program(console, request.handed_over.plan)
    if json_:
        words = [asdict(line) for line in lines]
        differs = None if changed is None else {"from": changed[0], "changes": [asdict(one) for one in changed[1]]}
        program = program_facts(request.handed_over.plan)
        typer.echo(json.dumps({**_facts(request, standing), "words": words, "differs": differs, "program": program}))


def approve(
    plan: PlanArgument,
    as_: OfficerOption,
    reason: Annotated[str, typer.Option(help="Kept with the decision; the researcher reads it.")] = "",
    key: KeyOption = None,
    config: ConfigOption = CONFIG,
    json_: JsonOption = False,
    code: Annotated[
        str, typer.Option("--code", help="Of a plan with a program: the digest of the program you read, as `show` prints it.")
    ] = "",
) -> None:
    """Approve a plan, until the day the policy says. The silo node takes part from then on."""
    _decide(plan, "approve", as_, reason, key, config, json_, code)


def reject(
    plan: PlanArgument,
    as_: OfficerOption,
    reason: WhyOption,
    key: KeyOption = None,
    config: ConfigOption = CONFIG,
    json_: JsonOption = False,
) -> None:
    """Reject a plan, with a reason."""
    _decide(plan, "reject", as_, reason, key, config, json_)


def withdraw(
    plan: PlanArgument,
    as_: OfficerOption,
    reason: WhyOption,
    key: KeyOption = None,
    config: ConfigOption = CONFIG,
    json_: JsonOption = False,
) -> None:
    """Withdraw an approval. It holds for the next round, also of a job that runs."""
    _decide(plan, "withdraw", as_, reason, key, config, json_)


def officer_key(name: str, key: Path | None) -> Identity:
    """The officer's key, which must be there: a lost one is not silently replaced. Raises IdentityError."""
    from protocol.errors import IdentityError
    from protocol.identity import Identity

    place = key_of(name, key)
    if not place.exists():
        raise IdentityError(f"{place} is not there: `fedward silo officer {name}` makes a key, --key names another place.")
    return Identity.open(place)


def _decide(
    plan: str, verdict: Any, name: str, reason: str, key: Path | None, config: Path, json_: bool, code: str = ""
) -> None:
    from rich.console import Console
    from rich.text import Text

    from protocol.errors import FedwardError

    opened, console = open_office(config), Console(stderr=json_, emoji=False, highlight=False)
    identity = officer_key(name, key)
    request = opened.office.find(plan)
    standing = opened.office.decide(request, verdict, name, identity, reason, code=code)
    console.print(Text.assemble(f"{_short(request)} ", _stands(standing)))
    try:
        _sync(opened, console)
    except FedwardError as error:  # the decision holds here; only the researcher does not know it yet
        console.print(f"The researcher was not told yet: {error}", style="yellow", markup=False)
    if json_:
        typer.echo(json.dumps(_facts(request, standing)))


def _sync(opened: Opened, console: Console, offline: bool = False) -> None:
    if offline:
        return
    from protocol.governance.shown import shown

    with console.status("looking at the share"):
        problems = opened.office.sync(opened.identity)
    for problem in problems:
        console.print(f"not used: {shown(problem)}", style="yellow", markup=False)


def _stands(standing: Standing) -> Text:
    from rich.text import Text

    from protocol.governance.shown import shown

    return Text.assemble((standing.status, _COLOURS[standing.status]), f" {shown(standing.why)}")


def _short(request: Request) -> str:
    return request.digest.removeprefix("sha256:")[:12]


def _facts(request: Request, standing: Standing) -> dict[str, Any]:
    cover = request.handed_over.cover
    return {
        "plan": request.handed_over.plan.name,
        "digest": request.digest,
        "researcher": cover.researcher,
        "handed_over": cover.at,
        "note": cover.note,
        "status": standing.status,
        "why": standing.why,
        "approval": standing.approval,
        "until": standing.until and standing.until.isoformat(),
    }


_COLOURS = {"approved": "green", "pending": "yellow", "rejected": "red", "expired": "yellow", "withdrawn": "red"}
