"""Coordinators, members and rosters made in memory."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.consortium.certificates import binding, certificate_digest, key_digest, new_tls_key, subject, to_pem
from protocol.consortium.records import UNSIGNED, Kit, Party, Roster, sign
from protocol.identity import Identity

DAYS = 9
"""How long certificates last from now."""


def identity() -> Identity:
    return Identity(Ed25519PrivateKey.generate())


def certificate(
    key: ec.EllipticCurvePublicKey, name: x509.Name, ca: ec.EllipticCurvePrivateKey, days: int = 9
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(subject("thorax", "ca", "authority")).public_key(key)
    builder = (
        builder.serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
    )
    return builder.sign(ca, hashes.SHA256())


class World:
    """One consortium: a coordinator, a CA, an aggregator and silo `a`."""

    def __init__(self) -> None:
        self.coordinator, self.a, self.ca_key, self.a_tls = identity(), identity(), new_tls_key(), new_tls_key()
        self.ca = certificate(self.ca_key.public_key(), subject("thorax", "ca", "authority"), self.ca_key)
        self.member, self.certificate = self.certify("a", self.a, self.a_tls)
        aggregator, _ = self.certify("aggregator", identity(), new_tls_key())
        unsigned = Roster(
            consortium="thorax",
            sequence=7,
            url="tls://broker.example.org:4222",
            ca=to_pem(self.ca),
            coordinator=self.coordinator.public_key.hex(),
            aggregator=aggregator,
            members=(self.member,),
            signature=UNSIGNED,
        )
        self.roster = sign(unsigned, self.coordinator)
        self.kit = Kit(self.roster, to_pem(self.certificate))

    def certify(self, name: str, who: Identity, key: ec.EllipticCurvePrivateKey) -> tuple[Party, x509.Certificate]:
        digest = key_digest(key.public_key())
        bound = binding(name, who.public_key.hex(), digest)
        issued = certificate(key.public_key(), subject("thorax", name, bound), self.ca_key)
        return Party(name, who.public_key.hex(), digest, certificate_digest(issued)), issued
