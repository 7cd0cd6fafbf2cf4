"""The folder of one party: its two private keys, and what the coordinator answered.

identity.key     Ed25519, signs messages         0600, made here, never leaves
key.pem          P-256, opens the connection     0600, made here, never leaves
next-key.pem     the same, until its kit is installed
request.json     what goes to the coordinator
certificate.pem, ca.pem, url, roster.json        from the kit
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from protocol.consortium.certificates import check_issued, key_digest, load_certificate, load_tls_key
from protocol.consortium.files import read_private, read_public
from protocol.consortium.records import JoinRequest, Roster, decode
from protocol.consortium.rosters import check_roster, party_of
from protocol.errors import ConsortiumError, TrustError
from protocol.identity import Identity


@dataclass(frozen=True)
class PartyFolder:
    """Where a party keeps what it needs to connect and to sign."""

    folder: Path

    @property
    def identity(self) -> Path:
        """Ed25519 private key, as protocol.identity keeps it."""
        return self.folder / "identity.key"

    @property
    def key(self) -> Path:
        """TLS private key (PEM)."""
        return self.folder / "key.pem"

    @property
    def next_key(self) -> Path:
        """TLS private key that waits for its certificate."""
        return self.folder / "next-key.pem"

    @property
    def request(self) -> Path:
        """The request that waits for its kit."""
        return self.folder / "request.json"

    @property
    def certificate(self) -> Path:
        """Certificate of `key` (PEM)."""
        return self.folder / "certificate.pem"

    @property
    def ca(self) -> Path:
        """The consortium's own CA (PEM), the only one the broker's certificate may come from."""
        return self.folder / "ca.pem"

    @property
    def url(self) -> Path:
        """The broker's address, one line."""
        return self.folder / "url"

    @property
    def roster(self) -> Path:
        """The newest roster that was believed."""
        return self.folder / "roster.json"

    def known_roster(self) -> Roster | None:
        """The roster of the last kit, if there was one. Raises TrustError if the file was changed."""
        if not self.roster.exists():
            return None
        roster = decode(read_public(self.roster), Roster)
        check_roster(roster, roster.coordinator)
        return roster

    def open_identity(self) -> Identity:
        """The identity, which must be there: a lost one is not silently replaced. Raises IdentityError."""
        read_private(self.identity)
        return Identity.open(self.identity)

    def tls_digest(self, key: Path) -> str:
        """SHA-256 (hex) of the public half of a TLS key file. Raises IdentityError."""
        return key_digest(load_tls_key(read_private(key)).public_key())


def ready(place: PartyFolder) -> tuple[str, Roster]:
    """The name and the newest roster of a party whose files fit together, so that it can connect and sign.

    Raises ConsortiumError if it has no kit yet or its certificate has ended, IdentityError for keys that are lost, damaged or
    open to others, TrustError for files that do not belong together.
    """
    roster = place.known_roster()
    if roster is None:
        raise ConsortiumError(f"{place.folder} has no kit yet; install it with `fedward silo join --kit KIT`.")
    name = own_name(place)
    party, key = party_of(roster, name), place.tls_digest(place.key)
    if party.state != "active":
        raise TrustError(f"{name} was removed from {roster.consortium}. Telephone the coordinator.")
    if party.identity != place.open_identity().public_key.hex() or key not in (party.tls_key, *party.former):
        raise TrustError(f"the keys in {place.folder} are not those of {name} in the roster. Install the newest kit.")
    certificate = load_certificate(read_public(place.certificate).decode("utf-8", "replace"))
    check_issued(certificate, load_certificate(roster.ca))
    if key_digest(certificate.public_key()) != key:
        raise TrustError("certificate.pem and key.pem do not belong together. Install the newest kit again.")
    until = certificate.not_valid_after_utc
    if until < datetime.datetime.now(datetime.UTC):
        raise ConsortiumError(
            f"the certificate of {name} ended on {until:%Y-%m-%d}, if the clock is right; ask with `fedward silo join --renew`."
        )
    return name, roster


def own_name(place: PartyFolder) -> str:
    """The name this folder has, or asked for. Raises ConsortiumError if it never asked for one."""
    roster = place.known_roster()
    if roster is not None:
        identity = place.open_identity().public_key.hex()
        for party in (roster.aggregator, *roster.members):
            if party.identity == identity:
                return party.name
        raise TrustError(f"nobody in the roster has the identity in {place.folder}. Install the newest kit, or telephone.")
    if not place.request.exists():
        raise ConsortiumError(f"{place.folder} never asked to join; run `fedward silo join NAME` first, or name its folder.")
    return decode(read_public(place.request), JoinRequest).name
