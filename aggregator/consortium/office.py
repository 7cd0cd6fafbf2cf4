"""The coordinator's folder: who may write it, what is in it, and how it changes in one step.

ca.key, coordinator.key          private, 0600; the second signs rosters
ca.pem, roster.json              public; the roster is the truth, all below follows from it
settings.json                    where the broker runs
certificates/<digest>.pem        every certificate that was ever issued
history/<sequence>.json          every roster that was ever signed
broker/                          server.pem, server.key, ca.pem, broker.conf: what the broker's machine needs
aggregator/                      identity.key, key.pem, certificate.pem, ca.pem, url, roster.json: as a silo's folder
kits/<silo>.kit.json             to be sent to the hospitals
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509

from aggregator.consortium.authority import Authority
from aggregator.consortium.broker_config import BrokerSettings, broker_config
from protocol.canonical import canonical_json
from protocol.consortium.certificates import certificate_digest, key_digest, load_certificate, load_tls_key, to_pem
from protocol.consortium.files import read_private, read_public, replace
from protocol.consortium.folder import PartyFolder
from protocol.consortium.joining import install
from protocol.consortium.records import Kit, Party, Roster, decode, encode, sign
from protocol.consortium.rosters import AGGREGATOR, check_roster
from protocol.errors import ConsortiumError, IdentityError, TrustError
from protocol.identity import Identity


@dataclass(frozen=True)
class Office:
    """The folder of one consortium."""

    folder: Path

    @property
    def broker(self) -> Path:
        """What the broker's machine needs."""
        return self.folder / "broker"

    @property
    def config(self) -> Path:
        """The broker's configuration."""
        return self.broker / "broker.conf"

    @property
    def aggregator(self) -> PartyFolder:
        """The aggregator's own keys and kit."""
        return PartyFolder(self.folder / AGGREGATOR)

    def kit_path(self, name: str) -> Path:
        """Where the kit of a silo is written."""
        return self.folder / "kits" / f"{name}.kit.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One change at a time. Raises ConsortiumError if another is under way, or there is no consortium here."""
        try:
            with (self.folder / "lock").open("a") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield
        except BlockingIOError as error:
            raise ConsortiumError("another `fedward consortium` is at work in this folder; wait for it to end.") from error
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ConsortiumError(f"{self.folder} holds no consortium; make one with `fedward consortium init`.") from error

    def identity(self) -> Identity:
        """The coordinator's; never made anew, for then nobody would believe it. Raises IdentityError."""
        path = self.folder / "coordinator.key"
        read_private(path)
        return Identity.open(path)

    def authority(self) -> Authority:
        """The CA. Raises IdentityError."""
        key = load_tls_key(read_private(self.folder / "ca.key"))
        certificate = load_certificate(read_public(self.folder / "ca.pem").decode("utf-8", "replace"))
        if key_digest(certificate.public_key()) != key_digest(key.public_key()):
            raise IdentityError("ca.key and ca.pem do not belong together. Restore both from your backup.")
        return Authority(key, certificate)

    def roster(self) -> Roster:
        """The newest roster, as this coordinator signed it. Raises ConsortiumError, TrustError."""
        path = self.folder / "roster.json"
        if not path.exists():
            raise ConsortiumError(f"{self.folder} holds no consortium; make one with `fedward consortium init`.")
        roster = decode(read_public(path), Roster)
        check_roster(roster, roster.coordinator)
        return roster

    def settings(self) -> BrokerSettings:
        """Where the broker runs. Raises ConsortiumError."""
        try:
            return msgspec.json.decode(read_public(self.folder / "settings.json"), type=BrokerSettings)
        except msgspec.DecodeError as error:
            raise ConsortiumError(f"settings.json cannot be used: {error}. Correct it or restore it.") from error

    def save_settings(self, settings: BrokerSettings) -> None:
        """Keep where the broker runs."""
        replace(self.folder / "settings.json", canonical_json(msgspec.to_builtins(settings)))

    def keep_certificate(self, certificate: x509.Certificate) -> str:
        """Keep an issued certificate before anybody is given it; its digest (hex)."""
        digest = certificate_digest(certificate)
        replace(self.folder / "certificates" / f"{digest}.pem", to_pem(certificate).encode())
        return digest

    def certificate_of(self, party: Party) -> str:
        """The present certificate of a party (PEM)."""
        return read_public(self.folder / "certificates" / f"{party.certificate}.pem").decode()

    def certified_before(self, tls_key: str) -> bool:
        """Whether a TLS key (digest) was ever in a roster: it may have been stolen since, and is not taken again."""
        present = [self.roster()] if (self.folder / "roster.json").exists() else []
        rosters = present + [decode(read_public(path), Roster) for path in (self.folder / "history").glob("*.json")]
        return any(tls_key == party.tls_key for roster in rosters for party in (roster.aggregator, *roster.members))

    def save(self, roster: Roster) -> Roster:
        """Sign a roster, make it the newest, and write everything that follows from it."""
        identity = self.identity()
        if identity.public_key.hex() != roster.coordinator:
            raise TrustError("coordinator.key is not the one the roster names: nobody would believe it. Restore your backup.")
        signed = sign(roster, identity)
        check_roster(signed, signed.coordinator)
        replace(self.folder / "roster.json", encode(signed))
        self.write_all(signed)
        return signed

    def write_all(self, roster: Roster) -> None:
        """Broker configuration, the aggregator's folder and the kits. A crash in between is mended by the next command."""
        replace(self.folder / "history" / f"{roster.sequence:06d}.json", encode(roster))
        replace(self.config, broker_config(roster, self.settings()).encode())
        replace(self.broker / "ca.pem", roster.ca.encode())
        kit = Kit(roster, self.certificate_of(roster.aggregator))
        install(self.aggregator, AGGREGATOR, kit, roster.coordinator)
        for member in roster.members:
            if member.state == "active":
                replace(self.kit_path(member.name), encode(Kit(roster, self.certificate_of(member))))
            else:
                self.kit_path(member.name).unlink(missing_ok=True)
