"""How a party joins: keys and a request, then the kit. Nothing is written before everything is checked."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from protocol.consortium.certificates import key_digest, load_tls_key, new_tls_key, tls_key_bytes
from protocol.consortium.files import read_private, read_public, replace
from protocol.consortium.folder import PartyFolder
from protocol.consortium.records import JoinRequest, Kit, Roster, decode, encode
from protocol.consortium.requests import check_name, check_request, make_request
from protocol.consortium.rosters import AGGREGATOR, check_kit, check_roster, party_of
from protocol.errors import ConsortiumError, TrustError
from protocol.identity import Identity


def join(place: PartyFolder, name: str, *, renew: bool = False) -> JoinRequest:
    """Make what keys are missing and a request for `name`. Run again before the kit came, it is the same request.

    A party that has its certificate asks for a new one with `renew`: new TLS key, same identity; the old ones stay in use until
    the new kit is installed. Raises ConsortiumError, IdentityError, TrustError.
    """
    known = place.known_roster()
    if known is not None and not renew:
        raise ConsortiumError(f"{place.folder} has its certificate already; --renew asks for a new one.")
    if known is None and renew:
        raise ConsortiumError(f"{place.folder} has no certificate to renew yet; leave out --renew.")
    if known is not None and party_of(known, name).identity != place.open_identity().public_key.hex():
        raise TrustError(f"identity.key is not that of {name} in the roster. Restore it from your backup.")
    if name != AGGREGATOR:
        check_name(name)  # before any key is made
    identity = Identity.open(place.identity)
    if not place.next_key.exists():
        replace(place.next_key, tls_key_bytes(new_tls_key()), private=True)
    tls_key = load_tls_key(read_private(place.next_key))
    waiting = _waiting(place, name, identity, tls_key)
    if waiting is not None:
        return waiting
    request = make_request(name, identity, tls_key)
    replace(place.request, encode(request))
    return request


def _waiting(place: PartyFolder, name: str, identity: Identity, tls_key: ec.EllipticCurvePrivateKey) -> JoinRequest | None:
    """The request that was made before from these keys: a new one would have another fingerprint."""
    try:
        request = decode(read_public(place.request), JoinRequest)
        key = key_digest(check_request(request))
    except (ConsortiumError, TrustError):
        return None
    wanted = (name, identity.public_key.hex(), key_digest(tls_key.public_key()))
    return request if (request.name, request.identity, key) == wanted else None


def install(place: PartyFolder, name: str, kit: Kit, coordinator: str) -> Roster:
    """Check a kit against the coordinator's public key (hex) and put it in place. Safe to repeat after a crash.

    Raises TrustError for a kit that is forged, changed, older than the last one or for other keys; nothing is written then.
    """
    known = place.known_roster()
    check_roster(kit.roster, coordinator if known is None else known.coordinator, known)
    keys = {place.tls_digest(path): path for path in (place.key, place.next_key) if path.exists()}
    wanted = party_of(kit.roster, name).tls_key
    check_kit(kit, name, place.open_identity().public_key.hex(), wanted if wanted in keys else "")
    if keys[wanted] == place.next_key:
        replace(place.key, read_private(place.next_key), private=True)
    replace(place.certificate, kit.certificate.encode())
    replace(place.ca, kit.roster.ca.encode())
    replace(place.url, kit.roster.url.encode() + b"\n")
    replace(place.roster, encode(kit.roster))  # last: who has it, has all the others
    if keys[wanted] == place.next_key:
        place.next_key.unlink()
        place.request.unlink(missing_ok=True)
    return kit.roster


def accept(place: PartyFolder, roster: Roster) -> bool:
    """Keep a roster that came over the network; whether it was news. Raises TrustError if it is forged or older."""
    known = place.known_roster()
    if known is None:
        raise TrustError("a roster came before the first kit; install the kit first with `fedward silo join --kit`.")
    check_roster(roster, known.coordinator, known)
    if roster.sequence == known.sequence:
        return False
    replace(place.roster, encode(roster))
    return True
