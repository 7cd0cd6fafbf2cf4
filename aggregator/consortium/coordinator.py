"""What the coordinator does: found a consortium, take hospitals in, let them go, renew keys.

It never sees a hospital's private key.
"""

from __future__ import annotations

import msgspec

from aggregator.consortium import members
from aggregator.consortium.authority import Authority
from aggregator.consortium.broker_config import BrokerSettings
from aggregator.consortium.office import Office
from protocol.consortium.certificates import (
    binding,
    key_digest,
    new_tls_key,
    subject,
    tls_key_bytes,
    to_pem,
)
from protocol.consortium.files import replace
from protocol.consortium.joining import join
from protocol.consortium.records import UNSIGNED, JoinRequest, Party, Roster
from protocol.consortium.requests import check_name, check_request
from protocol.consortium.rosters import AGGREGATOR
from protocol.errors import ConsortiumError, TrustError
from protocol.identity import Identity

BROKER = "broker"


def found(office: Office, name: str, url: str, settings: BrokerSettings) -> Roster:
    """Make CA, coordinator, aggregator and broker. Raises ConsortiumError if there is a consortium already.

    An attempt that was interrupted is made good by the next one: nothing counts before there is a roster.
    """
    check_name(name, "consortium")
    office.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with office.locked():
        if (office.folder / "roster.json").exists():
            raise ConsortiumError(f"{office.folder} holds a consortium already; choose another folder.")
        authority = Authority.create(name)
        replace(office.folder / "ca.key", tls_key_bytes(authority.key), private=True)
        replace(office.folder / "ca.pem", to_pem(authority.certificate).encode())
        office.save_settings(settings)
        _issue_broker(office, name, settings.hosts)
        coordinator = Identity.open(office.folder / "coordinator.key")
        roster = Roster(
            consortium=name,
            sequence=1,
            url=url,
            ca=to_pem(authority.certificate),
            coordinator=coordinator.public_key.hex(),
            aggregator=_certify(office, name, join(office.aggregator, AGGREGATOR)),
            members=(),
            signature=UNSIGNED,
        )
        return office.save(roster)


def admit(office: Office, request: JoinRequest) -> Roster:
    """Take a hospital in, whose fingerprint was compared. Raises TrustError, ConsortiumError."""
    with office.locked():
        check_name(request.name)
        roster = office.roster()
        members.add(roster, _unissued(request))  # refused before a certificate is made
        return office.save(members.add(roster, _certify(office, roster.consortium, request)))


def dismiss(office: Office, name: str) -> Roster:
    """Take a hospital out. Its broker account is gone with the next reload."""
    with office.locked():
        return office.save(members.remove(office.roster(), name))


def renew(office: Office, request: JoinRequest, *, cut: bool = False) -> Roster:
    """New keys for a member. With its old identity the request proves itself; a new one was compared by telephone."""
    with office.locked():
        check_name(request.name)
        roster = office.roster()
        members.rotate(roster, _unissued(request), cut=cut)
        return office.save(members.rotate(roster, _certify(office, roster.consortium, request), cut=cut))


def renew_aggregator(office: Office, *, cut: bool = False) -> Roster:
    """A new TLS key for the aggregator, in its folder; the old one works until `finish`, unless `cut`."""
    with office.locked():
        roster = office.roster()
        office.write_all(roster)  # a renewal that was cut off is in the roster already, and is put in place first
        request = join(office.aggregator, AGGREGATOR, renew=True)
        return office.save(members.rotate(roster, _certify(office, roster.consortium, request), cut=cut))


def renew_broker(office: Office) -> Roster:
    """A new key and certificate for the broker. Clients trust the CA, so nobody has to be told."""
    with office.locked():
        roster = office.roster()
        _issue_broker(office, roster.consortium, office.settings().hosts)
        office.write_all(roster)
        return roster


def finish(office: Office, name: str) -> Roster:
    """End the overlap of a rotation: only the present key of `name` is let in."""
    with office.locked():
        return office.save(members.finish(office.roster(), name))


def refresh(office: Office) -> Roster:
    """Write again everything that follows from the roster."""
    with office.locked():
        roster = office.roster()
        office.write_all(roster)
        return roster


def _unissued(request: JoinRequest) -> Party:
    """The party a request would become, for the checks that come before a certificate."""
    return Party(request.name, request.identity, key_digest(check_request(request)), "0" * 64)


def _certify(office: Office, consortium: str, request: JoinRequest) -> Party:
    party = _unissued(request)
    if office.certified_before(party.tls_key):
        raise TrustError(
            f"the TLS key of this request had a certificate before, so it may be an old request that somebody sent again. "
            f"A hospital makes new keys with `fedward silo join {request.name} --renew`."
        )
    name = subject(consortium, request.name, binding(party.name, party.identity, party.tls_key))
    certificate = office.authority().issue_client(name, check_request(request))
    return msgspec.structs.replace(party, certificate=office.keep_certificate(certificate))


def _issue_broker(office: Office, consortium: str, hosts: tuple[str, ...]) -> None:
    key = new_tls_key()
    digest = key_digest(key.public_key())
    name = subject(consortium, BROKER, binding(BROKER, "", digest))
    certificate = office.authority().issue_server(name, key.public_key(), hosts)
    replace(office.broker / "server.key", tls_key_bytes(key), private=True)
    replace(office.broker / "server.pem", to_pem(certificate).encode())
