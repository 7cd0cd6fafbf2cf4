"""Rosters and kits: which one may be believed, and which one is newer. Pure: no files, no network."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509

from protocol.consortium.certificates import (
    binding,
    broker_user,
    certificate_digest,
    check_issued,
    key_digest,
    load_certificate,
    subject,
    to_pem,
)
from protocol.consortium.fingerprint import fingerprint
from protocol.consortium.records import Kit, Party, Roster, encode, signed_by
from protocol.consortium.requests import RESERVED
from protocol.errors import TrustError

AGGREGATOR = "aggregator"


def check_roster(roster: Roster, coordinator: str, known: Roster | None = None) -> None:
    """Raises TrustError unless `coordinator` (public key, hex) signed a sound roster that is not older than `known`."""
    if roster.coordinator != coordinator or not signed_by(roster, coordinator):
        raise TrustError(
            "the roster was not signed by the coordinator you know: it was forged or changed. Do not use it; telephone them."
        )
    _check_sound(roster)
    if known is not None:
        _check_newer(roster, known)


def check_kit(kit: Kit, name: str, identity: str, tls_key: str) -> x509.Certificate:
    """The certificate of a kit that is for exactly these keys (hex). Its roster was checked before. Raises TrustError."""
    member = party_of(kit.roster, name)
    if member.state != "active":
        raise TrustError(f"{name} was removed from the consortium. Telephone the coordinator.")
    if (member.identity, member.tls_key) != (identity, tls_key):
        raise TrustError(f"the kit is for other keys than those here. Send the coordinator the request of {name} again.")
    certificate = load_certificate(kit.certificate)
    same = certificate_digest(certificate) == member.certificate and to_pem(certificate) == kit.certificate
    if not same or key_digest(certificate.public_key()) != tls_key:
        owner = next((one.name for one in kit.roster.active if one.certificate == certificate_digest(certificate)), name)
        if owner != name:
            raise TrustError(f"this is the kit of {owner}, not of {name}. Ask the coordinator for the kit of {name}.")
        raise TrustError("the kit's certificate is not the one the coordinator signed for: it was changed. Ask for it again.")
    check_issued(certificate, load_certificate(kit.roster.ca))
    if certificate.subject != subject(kit.roster.consortium, name, binding(name, identity, tls_key)):
        raise TrustError("the kit's certificate names somebody else. Ask the coordinator for a new kit.")
    return certificate


def party_of(roster: Roster, name: str) -> Party:
    """The party of that name, the aggregator included. Raises TrustError."""
    party = roster.aggregator if name == AGGREGATOR else roster.member(name)
    if party is None:
        raise TrustError(f"the roster does not know {name}. Ask the coordinator for the kit of {name}.")
    return party


def users(roster: Roster, party: Party) -> tuple[str, ...]:
    """The certificate subjects under which the broker lets `party` in: the present one, and former ones of a rotation."""
    keys = (party.tls_key, *party.former)
    return tuple(broker_user(roster.consortium, party.name, binding(party.name, party.identity, key)) for key in keys)


def tls_keys(roster: Roster) -> list[str]:
    """All TLS keys (digests) that may open a connection, sorted."""
    return sorted(key for party in (roster.aggregator, *roster.active) for key in (party.tls_key, *party.former))


def roster_fingerprint(roster: Roster) -> str:
    """The same at every hospital that was given the same roster."""
    return fingerprint(encode(roster))


def key_fingerprint(public_key: str) -> str:
    """Of one public key (hex)."""
    return fingerprint(bytes.fromhex(public_key))


def _check_newer(roster: Roster, known: Roster) -> None:
    if roster.consortium != known.consortium:
        raise TrustError(f"this is the roster of {roster.consortium}, not of {known.consortium}. Use another folder for it.")
    if roster.sequence < known.sequence:
        raise TrustError(
            f"the roster has number {roster.sequence}, but number {known.sequence} is already known here: it is out of date. "
            "Ask the coordinator for the newest kit."
        )
    if roster.sequence == known.sequence and roster != known:
        raise TrustError(
            f"there are two rosters with number {roster.sequence}: the coordinator signed both. Telephone the coordinator "
            "and the other hospitals before you go on."
        )


def _check_sound(roster: Roster) -> None:
    def refuse(why: str) -> None:
        raise TrustError(f"the roster is signed, but {why}. Telephone the coordinator; do not use it.")

    names = [member.name for member in roster.members]
    if names != sorted(set(names)):
        refuse("its members are not sorted or a name is twice in it")
    if RESERVED & set(names) or roster.aggregator.name != AGGREGATOR or roster.aggregator.state != "active":
        refuse("it gives a name of the consortium to a silo, or has no aggregator")
    living = [roster.coordinator, *_identities(roster)]
    if len(set(living)) != len(living):
        refuse("one identity stands for two parties")
    keys = [key for party in (roster.aggregator, *roster.members) for key in (party.tls_key, *party.former)]
    if len(set(keys)) != len(keys):
        refuse("one TLS key stands for two parties")
    if any(member.former for member in roster.members if member.state == "revoked"):
        refuse("a removed member still has keys that the broker takes")
    load_certificate(roster.ca)


def _identities(roster: Roster) -> Iterator[str]:
    yield roster.aggregator.identity
    yield from (member.identity for member in roster.members)
