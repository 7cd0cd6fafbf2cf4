"""`fedward consortium`: what the coordinator runs. Exit codes are those of protocol.errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedward.cli.consortium_shown import print_consortium, tell
from fedward.cli.telephone import compare

if TYPE_CHECKING:
    from aggregator.consortium.office import Office
    from protocol.consortium.records import JoinRequest

app = typer.Typer(help="At the coordinator: who belongs to the consortium, and the broker they meet at.", no_args_is_help=True)

FolderOption = Annotated[Path, typer.Option(help="The coordinator's folder. Back it up; nobody else may read it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on the last line.")]
FingerprintOption = Annotated[
    str | None, typer.Option(help="What the hospital read out by telephone, instead of being asked.", show_default=False)
]
RequestArgument = Annotated[Path, typer.Argument(readable=False, help="The file that `fedward silo join` wrote.")]
_FOLDER = Path("consortium")


@app.command("init")
def init(
    name: Annotated[str, typer.Argument(help="Name of the consortium: a-z, 0-9 and dash.")],
    url: Annotated[str, typer.Option(help="The broker's address as hospitals see it, tls://HOST:PORT or wss://HOST:PORT.")],
    folder: FolderOption = _FOLDER,
    host: Annotated[list[str] | None, typer.Option(help="Another name or address of the broker. Repeat for more.")] = None,
    listen: Annotated[
        str, typer.Option(help="HOST:PORT at which the broker listens.", show_default="0.0.0.0 and the port of a tls --url")
    ] = "",
    websocket: Annotated[str, typer.Option(help="HOST:PORT for WebSocket too; none if left out.", show_default=False)] = "",
    monitor_port: Annotated[int, typer.Option(min=1, max=65535, help="Monitoring, on loopback only.")] = 8222,
    storage_gb: Annotated[float, typer.Option(min=0.1, help="Disk the broker may use, GB.")] = 20.0,
    broker_folder: Annotated[
        Path | None,
        typer.Option(help="Where FOLDER/broker will lie, if the broker runs on another machine.", show_default=False),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Make the CA, the coordinator's and the aggregator's keys, and the broker's certificate and configuration."""
    from aggregator.consortium.broker_config import settings_of
    from aggregator.consortium.coordinator import found

    office = _office(folder)
    place = str((broker_folder or office.broker).absolute())
    settings = settings_of(url, place, tuple(host or ()), listen, websocket, monitor_port, int(storage_gb * 1e9))
    roster = found(office, name, url, settings)
    tell(office, roster, json_, f"Consortium {name} was made in {folder}.")
    if not json_:
        typer.echo(f"Start the broker    nats-server -c {office.config}")
        typer.echo("Back up             ca.key and coordinator.key, apart from this machine: without them nobody can be added.")
        typer.echo("Then                each hospital runs `fedward silo join NAME` and sends you the file it writes.")


@app.command("add-silo")
def add_silo(
    request: RequestArgument, folder: FolderOption = _FOLDER, fingerprint: FingerprintOption = None, json_: JsonOption = False
) -> None:
    """Take a hospital in: compare its request's fingerprint by telephone, write its kit, tell the broker."""
    from aggregator.consortium.coordinator import admit
    from protocol.consortium.requests import check_request, request_fingerprint

    office, asked = _office(folder), _request(request)
    check_request(asked)
    compare(f"the request of {asked.name}", request_fingerprint(asked), fingerprint)
    roster = admit(office, asked)
    tell(office, roster, json_, f"{asked.name} belongs to {roster.consortium}. Send it {office.kit_path(asked.name)}")


@app.command("remove-silo")
def remove_silo(
    name: Annotated[str, typer.Argument(help="The silo that leaves.")],
    folder: FolderOption = _FOLDER,
    json_: JsonOption = False,
) -> None:
    """Take a hospital out: the broker cuts it off at once, and its keys are never taken again."""
    from aggregator.consortium.coordinator import dismiss

    office = _office(folder)
    tell(
        office, dismiss(office, name), json_, f"{name} was removed. Send the new kits to the others: they hold the new roster."
    )


@app.command("rotate")
def rotate(
    who: Annotated[str, typer.Argument(help="A silo, `aggregator` or `broker`.")],
    request: Annotated[
        Path | None,
        typer.Option(readable=False, help="A silo's new request, from `fedward silo join --renew`.", show_default=False),
    ] = None,
    cut: Annotated[bool, typer.Option(help="The old key was stolen: refuse it at once.")] = False,
    finish: Annotated[bool, typer.Option(help="The new key is in use: refuse the old one from now on.")] = False,
    folder: FolderOption = _FOLDER,
    fingerprint: FingerprintOption = None,
    json_: JsonOption = False,
) -> None:
    """New keys. The old TLS key works beside the new one until --finish, so nobody is cut off while jobs run."""
    from aggregator.consortium import coordinator
    from protocol.consortium.requests import check_request, request_fingerprint
    from protocol.errors import ConsortiumError

    office = _office(folder)
    if finish:
        tell(office, coordinator.finish(office, who), json_, f"Only the newest key of {who} is let in now.")
        return
    if who == "broker":
        tell(office, coordinator.renew_broker(office), json_, "The broker has a new key and certificate.")
        return
    if who == "aggregator":
        said = "The aggregator has a new key; restart it when no round is open."
        tell(office, coordinator.renew_aggregator(office, cut=cut), json_, said)
        return
    if request is None:
        raise ConsortiumError(f"--request: {who} makes its own keys; ask it for the file of `fedward silo join --renew`.")
    asked = _request(request)
    check_request(asked)
    if asked.name != who:
        raise ConsortiumError(f"--request: this is a request of {asked.name}, not of {who}.")
    known = office.roster().member(who)
    if known is None or known.identity != asked.identity:  # its old identity would have proved where it comes from
        compare(f"the request of {who}, which has a NEW identity", request_fingerprint(asked), fingerprint)
    roster = coordinator.renew(office, asked, cut=cut)
    tell(office, roster, json_, f"{who} has new keys. Send it {office.kit_path(who)}")


@app.command("kit")
def kit(
    name: Annotated[str, typer.Argument(help="A silo.")],
    out: Annotated[Path | None, typer.Option(help="Write the kit here too.", show_default=False)] = None,
    folder: FolderOption = _FOLDER,
    json_: JsonOption = False,
) -> None:
    """Write a hospital's kit again: the newest roster and its certificate. Nothing in it is secret."""
    from aggregator.consortium.coordinator import refresh
    from fedward.cli.new_file import write_new
    from protocol.errors import ConsortiumError

    office = _office(folder)
    roster = refresh(office)
    member = roster.member(name)
    if member is None or member.state != "active":
        raise ConsortiumError(f"{name} is no member; `fedward consortium show` lists them.")
    path = office.kit_path(name)
    if out is not None:
        write_new(out, path.read_text())
    shown = {"kit": str(out or path), "silo": name, "sequence": roster.sequence}
    typer.echo(json.dumps(shown) if json_ else f"Kit of {name}, roster {roster.sequence}: {out or path}")


@app.command("reload")
def reload(folder: FolderOption = _FOLDER, json_: JsonOption = False) -> None:
    """Write the broker's configuration again and tell the running broker; nothing of a job is lost."""
    from aggregator.consortium.coordinator import refresh

    office = _office(folder)
    tell(office, refresh(office), json_, "Everything was written again from the roster.")


@app.command("show")
def show(folder: FolderOption = _FOLDER, json_: JsonOption = False) -> None:
    """Members, fingerprints, and when certificates end."""
    from aggregator.consortium.summary import summary

    office = _office(folder)
    facts = summary(office, office.roster())
    if json_:
        typer.echo(json.dumps(facts))
    else:
        print_consortium(facts)


def _office(folder: Path) -> Office:
    from aggregator.consortium.office import Office

    return Office(folder)


def _request(path: Path) -> JoinRequest:
    from protocol.consortium.files import read_public
    from protocol.consortium.records import JoinRequest, decode

    return decode(read_public(path), JoinRequest)
