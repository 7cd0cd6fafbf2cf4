"""Keys for one attempt: X25519 (RFC 7748), HKDF-SHA256 (RFC 5869) and AES-256-GCM (NIST SP 800-38D)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.canonical import canonical_json
from protocol.errors import AggregationError
from protocol.secure_aggregation import SCHEMA, Advertisement, Where

_FIELD = 2**255 - 19
_SMALL_ORDER = frozenset(  # all five u-coordinates below 2^255 - 19, on the curve and on its twist (Bernstein 2006)
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _FIELD - 1,
    }
)
_NONCE_BYTES, _TAG_BYTES = 12, 16
SEAL_BYTES = _NONCE_BYTES + _TAG_BYTES
"""How much longer a sealed message is."""


def new_private_key() -> bytes:
    """32 bytes from the operating system; X25519 clamps them itself."""
    return os.urandom(32)


def public_of(private: bytes) -> bytes:
    """The public key (32 bytes) of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def usable(public: bytes) -> bool:
    """Whether these are 32 bytes, the shortest form of the point (one point, one key), and not of small order.

    With a point of small order the shared secret is zero, whatever the private key (RFC 7748, section 6.1).
    """
    if len(public) != 32 or public[31] & 0x80:  # a bit that X25519 would ignore
        return False
    value = int.from_bytes(public, "little")
    return value < _FIELD and value not in _SMALL_ORDER


class Context:
    """What every derived key is bound to: the attempt and the manifest."""

    def __init__(self, where: Where, manifest: str) -> None:
        self.where, self.manifest = where, manifest

    def info(self, use: str, *names: str) -> bytes:
        """Canonical bytes of the use, the silos' names in a given order, the attempt and the manifest's digest."""
        where = [self.where.job, self.where.round, self.where.attempt, self.where.purpose]
        return canonical_json({"schema": SCHEMA, "use": use, "where": where, "manifest": self.manifest, "silos": list(names)})

    def pair_keys(
        self, private: bytes, silo: str, peers: Iterable[Advertisement], place: Mapping[str, int]
    ) -> tuple[list[bytes], list[bytes]]:
        """Keys (32 bytes) of the masks that `silo`, whose private mask key this is, adds and subtracts for its peers.

        Both silos of a pair derive the same key; the one with the earlier place in the roster adds.
        """
        plus: list[bytes] = []
        minus: list[bytes] = []
        own = loaded(private)
        for peer in peers:
            first, second = sorted((silo, peer.silo), key=place.__getitem__)
            key = _derive(_exchange(own, peer.mask_key), self.info("pair-mask", first, second))
            (plus if first == silo else minus).append(key)
        return plus, minus

    def self_key(self, seed: bytes, silo: str) -> bytes:
        """Key (32 bytes) of a silo's self-mask."""
        return _derive(seed, self.info("self-mask", silo))

    def seed_digest(self, seed: bytes, silo: str) -> bytes:
        """Commitment (32 bytes) to a seed of 256 uniform bits: says nothing of it, and nobody finds another that fits."""
        return hashlib.sha256(self.info("seed-digest", silo) + seed).digest()

    def seal(self, private: X25519PrivateKey, public: bytes, sender: str, receiver: str, plain: bytes) -> bytes:
        """`plain` for the receiver only, with what it belongs to as associated data."""
        bound, nonce = self.info("shares", sender, receiver), os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(_derive(_exchange(private, public), bound)).encrypt(nonce, plain, bound)

    def open(self, private: X25519PrivateKey, public: bytes, sender: str, receiver: str, sealed: bytes) -> bytes:
        """What `seal` hid. Raises AggregationError if it was made by or for another, elsewhere, or changed."""
        bound = self.info("shares", sender, receiver)
        try:
            return AESGCM(_derive(_exchange(private, public), bound)).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound
            )
        except (InvalidTag, ValueError) as error:
            raise AggregationError(f"the shares from {sender} for {receiver} are not what {sender} sealed here.") from error


def loaded(private: bytes) -> X25519PrivateKey:
    """A private key to be used several times: loading it costs as much as using it."""
    return X25519PrivateKey.from_private_bytes(private)


def _exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    return private.exchange(X25519PublicKey.from_public_bytes(public))


def _derive(secret: bytes, context: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, context).derive(secret)
