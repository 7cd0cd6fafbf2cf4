"""`fedward silo join`: keys are made at the hospital, a request goes out, a kit comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedward.cli.telephone import compare

if TYPE_CHECKING:
    from protocol.consortium.folder import PartyFolder


def join(
    name: Annotated[str | None, typer.Argument(help="This hospital's name: a-z, 0-9 and dash.", show_default=False)] = None,
    kit: Annotated[
        Path | None, typer.Option(readable=False, help="The coordinator's answer: check and install it.", show_default=False)
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where this hospital's keys lie. Back it up; it never leaves.")] = Path(
        "fedward-silo"
    ),
    out: Annotated[
        Path | None, typer.Option(help="Where to write the request; NAME.request.json if left out.", show_default=False)
    ] = None,
    renew: Annotated[
        bool, typer.Option(help="Ask for a new certificate; the old one stays in use until its kit comes.")
    ] = False,
    fingerprint: Annotated[
        str | None, typer.Option(help="What the coordinator read out by telephone, instead of being asked.", show_default=False)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on the last line.")] = False,
) -> None:
    """Join a consortium: make keys and a request for the coordinator; later check and install the kit. Keys never leave."""
    from protocol.consortium.folder import PartyFolder
    from protocol.errors import ConsortiumError

    place = PartyFolder(folder)
    if kit is None:
        _ask(place, name, out, renew, json_)
    elif renew or out:
        raise ConsortiumError("--kit installs an answer; give it without --renew and --out.")
    else:
        _install(place, name, kit, fingerprint, json_)


def _ask(place: PartyFolder, name: str | None, out: Path | None, renew: bool, json_: bool) -> None:
    from protocol.consortium.files import replace
    from protocol.consortium.folder import own_name
    from protocol.consortium.joining import join as ask
    from protocol.consortium.records import encode
    from protocol.consortium.requests import request_fingerprint
    from protocol.errors import ConsortiumError

    name = name or own_name(place)
    request = ask(place, name, renew=renew)
    path, data = out or Path(f"{name}.request.json"), encode(request)
    if path.exists() and not _own(path, request.identity):
        raise ConsortiumError(f"{path} exists and is not an earlier request from here; choose another name with --out.")
    replace(path, data)
    if json_:
        facts = {"request": str(path), "silo": name, "fingerprint": request_fingerprint(request), "folder": str(place.folder)}
        typer.echo(json.dumps(facts))
        return
    typer.echo(f"Request      {path}: send it to the coordinator. It holds public keys only.")
    typer.echo(f"Fingerprint  {request_fingerprint(request)}: read it out when the coordinator telephones.")
    typer.echo(f"Keys         in {place.folder}, for this hospital only. Back them up.")
    typer.echo("Then         `fedward silo join --kit KIT` with the file that the coordinator sends.")


def _own(path: Path, identity: str) -> bool:
    """Whether the file is a request that the same keys made before; such a one may be replaced."""
    from protocol.consortium.files import read_public
    from protocol.consortium.records import JoinRequest, decode
    from protocol.errors import TrustError

    try:
        return decode(read_public(path), JoinRequest).identity == identity
    except TrustError:
        return False


def _install(place: PartyFolder, name: str | None, path: Path, fingerprint: str | None, json_: bool) -> None:
    from protocol.consortium.certificates import load_certificate
    from protocol.consortium.files import read_public
    from protocol.consortium.folder import own_name
    from protocol.consortium.joining import install
    from protocol.consortium.records import Kit, decode
    from protocol.consortium.rosters import key_fingerprint, roster_fingerprint

    name = name or own_name(place)
    kit = decode(read_public(path), Kit)
    if place.known_roster() is None:  # later kits must come from the same coordinator, and nobody has to telephone
        compare("the coordinator", key_fingerprint(kit.roster.coordinator), fingerprint)
    roster = install(place, name, kit, kit.roster.coordinator)
    until = load_certificate(kit.certificate).not_valid_after_utc.isoformat()
    if json_:
        facts = {"silo": name, "consortium": roster.consortium, "sequence": roster.sequence, "url": roster.url, "until": until}
        members = {member.name: key_fingerprint(member.identity) for member in roster.active}
        typer.echo(json.dumps(facts | {"roster_fingerprint": roster_fingerprint(roster), "members": members}))
        return
    typer.echo(
        f"{name} belongs to {roster.consortium}, roster {roster.sequence}. Broker {roster.url}; certificate until {until[:10]}."
    )
    typer.echo(f"Fingerprint of the roster  {roster_fingerprint(roster)}: the same at every hospital with this roster.")
    typer.echo("Members and their identities; compare with each other, not only with the coordinator:")
    for member in roster.active:
        typer.echo(f"  {member.name:<32} {key_fingerprint(member.identity)}")
