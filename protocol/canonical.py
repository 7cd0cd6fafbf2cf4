"""Canonical JSON (RFC 8785) and SHA-256 digests: the same meaning gives the same bytes, and the same bytes the same digest."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785


def canonical_json(value: Any) -> bytes:
    """`value` (JSON types only) as RFC 8785 bytes: keys sorted, numbers in their shortest form, UTF-8."""
    return rfc8785.dumps(value)


def digest_bytes(data: bytes | memoryview) -> str:
    """SHA-256 of `data` as `sha256:<64 hex digits>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """Digest of the canonical JSON of `value`."""
    return digest_bytes(canonical_json(value))
