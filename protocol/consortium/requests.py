"""Join requests: made at the hospital, checked at the coordinator. They hold public keys only."""

from __future__ import annotations

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from protocol.consortium.certificates import binding, key_digest, subject, to_pem
from protocol.consortium.fingerprint import fingerprint
from protocol.consortium.records import UNSIGNED, JoinRequest, Name, encode, sign, signed_by
from protocol.errors import ConsortiumError, TrustError
from protocol.identity import Identity

RESERVED = frozenset({"aggregator", "broker", "coordinator", "consortium", "ca"})
"""Names that mean a party of the consortium that is not a silo."""

_NOWHERE = "request"


def make_request(name: str, identity: Identity, tls_key: ec.EllipticCurvePrivateKey) -> JoinRequest:
    """A request to be `name`, signed with both keys. The name was checked."""
    key = identity.public_key.hex()
    bound = binding(name, key, key_digest(tls_key.public_key()))
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject(_NOWHERE, name, bound)).sign(tls_key, hashes.SHA256())
    return sign(JoinRequest(name, key, to_pem(csr), UNSIGNED), identity)


def check_name(name: str, what: str = "silo") -> None:
    """Raises ConsortiumError for what cannot be the name of a silo or a consortium."""
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        raise ConsortiumError(
            f"{name!r} cannot be the name of a {what}: use 1 to 32 of a-z, 0-9 and dash, no dash at either end."
        ) from error
    if name in RESERVED:
        raise ConsortiumError(f"the name {name} is kept for the consortium itself. Choose another.")


def check_request(request: JoinRequest) -> ec.EllipticCurvePublicKey:
    """The TLS key of a request whose sender holds both private keys. Raises TrustError.

    The CSR's subject names the identity, and the identity's signature covers the CSR: neither half can be taken over into a
    request of somebody else.
    """
    if not signed_by(request, request.identity):
        raise TrustError("the request was not signed by its own identity: it was changed. Ask the hospital to send it again.")
    try:
        csr = x509.load_pem_x509_csr(request.csr.encode())
        key, valid = csr.public_key(), csr.is_signature_valid
        names = [attribute.value for attribute in csr.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    except (ValueError, TypeError) as error:
        raise TrustError(f"the request holds no certificate request ({error}). Run `fedward silo join` again.") from error
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1) and valid):
        raise TrustError("the certificate request is not signed by a P-256 key of its own. Run `fedward silo join` again.")
    if names != [binding(request.name, request.identity, key_digest(key))]:
        raise TrustError("the certificate request was made for another name or identity. Run `fedward silo join` again.")
    return key


def request_fingerprint(request: JoinRequest) -> str:
    """What the hospital reads out and the coordinator compares."""
    return fingerprint(encode(request))
