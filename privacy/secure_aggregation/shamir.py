"""Shamir's secret sharing (1979): any t of n shares give the secret, t - 1 say nothing about it.

Polynomials over the integers modulo the Mersenne prime 2^521 - 1, so that every 32-byte secret is in the field as it is.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from protocol.errors import AggregationError

PRIME = 2**521 - 1
SHARE_BYTES = 66
SECRET_BYTES = 32


def split(secret: bytes, threshold: int, points: Sequence[int]) -> dict[int, bytes]:
    """A share (66 bytes) of the 32-byte secret for each point; points are distinct and at least 1.

    Raises AggregationError for a secret of another length, a threshold below 1 or a point twice or below 1.
    """
    if len(secret) != SECRET_BYTES or threshold < 1 or len(set(points)) != len(points) or min(points, default=1) < 1:
        raise AggregationError(f"cannot share {len(secret)} bytes among the points {list(points)} with threshold {threshold}.")
    coefficients = [secrets.randbelow(PRIME) for _ in range(threshold - 1)] + [int.from_bytes(secret, "big")]
    return {point: _evaluate(coefficients, point).to_bytes(SHARE_BYTES, "big") for point in points}


def coefficients_at_zero(points: Sequence[int]) -> list[int]:
    """Lagrange's coefficients for distinct points: the secret is the sum of coefficient times share."""
    coefficients = []
    for point in points:
        above = below = 1
        for other in points:
            if other != point:
                above, below = above * other % PRIME, below * (other - point) % PRIME
        coefficients.append(above * pow(below, -1, PRIME) % PRIME)
    return coefficients


def combine(shares: Mapping[int, bytes]) -> bytes:
    """The secret (32 bytes) from exactly `threshold` shares by point.

    Raises AggregationError if a share is no element of the field or the result no 32 bytes: then a share was not honest.
    The converse does not hold: check the secret against what its owner committed to.
    """
    values = [int.from_bytes(share, "big") for share in shares.values()]
    if any(len(share) != SHARE_BYTES for share in shares.values()) or any(value >= PRIME for value in values):
        raise AggregationError("a share of a secret is malformed.")
    secret = sum(c * value for c, value in zip(coefficients_at_zero(list(shares)), values, strict=True)) % PRIME
    if secret >> (8 * SECRET_BYTES):
        raise AggregationError("shares of a secret do not fit each other.")
    return secret.to_bytes(SECRET_BYTES, "big")


def _evaluate(coefficients: Sequence[int], point: int) -> int:
    value = 0
    for coefficient in coefficients:  # highest power first
        value = (value * point + coefficient) % PRIME
    return value
