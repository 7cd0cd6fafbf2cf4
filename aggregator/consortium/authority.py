"""The consortium's own CA. It signs the broker's, the aggregator's and the silos' certificates, and nothing else."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from protocol.consortium.certificates import new_tls_key, subject

CA_DAYS = 3650
LEAF_DAYS = 365
_EARLIER = datetime.timedelta(hours=1)  # a hospital's clock may be behind


@dataclass(frozen=True)
class Authority:
    """The CA's private key and certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, consortium: str) -> Authority:
        """A new self-signed CA that may sign leaves only."""
        key = new_tls_key()
        name = subject(consortium, "ca", "authority")
        builder = _builder(name, name, key.public_key(), CA_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(ca=True), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    def issue_client(self, name: x509.Name, key: CertificatePublicKeyTypes, days: int = LEAF_DAYS) -> x509.Certificate:
        """A certificate that can open a connection and cannot pose as a server."""
        return self._issue(name, key, days, ExtendedKeyUsageOID.CLIENT_AUTH, ())

    def issue_server(
        self, name: x509.Name, key: CertificatePublicKeyTypes, hosts: Sequence[str], days: int = LEAF_DAYS
    ) -> x509.Certificate:
        """A certificate for the broker at `hosts` (names or addresses)."""
        return self._issue(name, key, days, ExtendedKeyUsageOID.SERVER_AUTH, hosts)

    def _issue(
        self, name: x509.Name, key: CertificatePublicKeyTypes, days: int, use: x509.ObjectIdentifier, hosts: Sequence[str]
    ) -> x509.Certificate:
        builder = _builder(name, self.certificate.subject, key, days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(ca=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def _builder(name: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _EARLIER).not_valid_after(now + datetime.timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
