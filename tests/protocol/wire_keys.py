"""Keys for tests of the wire, made once."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.identity import Identity

AGGREGATOR = Identity(Ed25519PrivateKey.generate())
STRANGER = Identity(Ed25519PrivateKey.generate())
