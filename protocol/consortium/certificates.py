"""Certificates of the consortium: P-256 keys, and a subject that names one pair of keys.

The subject of a member's certificate is CN=<name>, OU=<binding>, O=<consortium>. The binding is a digest of the name, the
Ed25519 identity and the TLS key, and the broker's configuration lists whole subjects. So the broker knows exactly the pairs of
keys that are in the roster (docs/decisions/0011): not an earlier certificate of the same name, not one of another identity.
"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import NameOID

from protocol.canonical import canonical_json
from protocol.errors import IdentityError, TrustError

_BINDING_DIGITS = 40
"""160 bits: nobody finds a second pair of keys for one binding."""


def new_tls_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key, from the operating system's random source."""
    return ec.generate_private_key(ec.SECP256R1())


def tls_key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key as unencrypted PKCS8 PEM, for a file of mode 0600."""
    unencrypted = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)


def load_tls_key(data: bytes) -> ec.EllipticCurvePrivateKey:
    """The private key of a PEM file. Raises IdentityError."""
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise IdentityError(f"the TLS key is damaged ({error}). Restore it from your backup, or ask for a new one.") from error
    if not (isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)):
        raise IdentityError("the TLS key is not a P-256 key. Restore the one that `fedward silo join` made.")
    return key


def key_digest(key: PublicKeyTypes) -> str:
    """SHA-256 of a public key's SubjectPublicKeyInfo, hex."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def certificate_digest(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's DER, hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def to_pem(thing: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """As text."""
    return thing.public_bytes(serialization.Encoding.PEM).decode("ascii")


def load_certificate(pem: str) -> x509.Certificate:
    """One certificate. Raises TrustError."""
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise TrustError(f"a certificate is damaged ({error}). Ask the coordinator for the kit again.") from error


def check_issued(certificate: x509.Certificate, ca: x509.Certificate) -> None:
    """Raises TrustError unless the consortium's CA signed `certificate`."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise TrustError("the certificate was not made by this consortium's CA. Ask the coordinator for a new kit.") from error


def binding(name: str, identity: str, tls_key: str) -> str:
    """What ties a name, an identity key and a TLS key (digests in hex) together, 40 hex digits."""
    value = {"schema": "fedward.binding/1", "name": name, "identity": identity, "tls_key": tls_key}
    return hashlib.sha256(canonical_json(value)).hexdigest()[:_BINDING_DIGITS]


def subject(consortium: str, name: str, bound: str) -> x509.Name:
    """The subject of the certificate of `name`; none of its parts needs escaping."""
    parts = ((NameOID.ORGANIZATION_NAME, consortium), (NameOID.ORGANIZATIONAL_UNIT_NAME, bound), (NameOID.COMMON_NAME, name))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def broker_user(consortium: str, name: str, bound: str) -> str:
    """The same subject as the broker writes it (RFC 4514: last part first)."""
    return subject(consortium, name, bound).rfc4514_string()
