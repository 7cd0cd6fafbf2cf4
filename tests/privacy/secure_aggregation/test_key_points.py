"""Public keys that give everybody the same secret are told from proper ones; X25519 itself is the oracle."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from privacy.secure_aggregation.keys import _FIELD, _SMALL_ORDER, new_private_key, public_of, usable


def secret_is_zero(public: bytes) -> bool:
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("point", sorted(_SMALL_ORDER))
def test_every_point_of_small_order_is_refused_and_does_give_a_zero_secret(point: int) -> None:
    public = point.to_bytes(32, "little")
    assert secret_is_zero(public)
    assert not usable(public)


@pytest.mark.parametrize("point", [*range(2, 40), _FIELD - 2, _FIELD // 2, 2**254])
def test_no_other_point_is_refused_for_its_order(point: int) -> None:
    public = point.to_bytes(32, "little")
    assert usable(public) == (not secret_is_zero(public))


@pytest.mark.parametrize("alias", [_FIELD, _FIELD + 1, 2**255 - 1, 2**255, 2**255 + 9, 2**256 - 1])
def test_a_second_spelling_of_a_point_is_refused(alias: int) -> None:
    assert not usable(alias.to_bytes(32, "little"))


def test_drawn_keys_and_random_points_are_usable_unless_they_are_another_spelling() -> None:
    assert all(usable(public_of(new_private_key())) for _ in range(50))
    for _ in range(200):
        public = os.urandom(32)
        assert usable(public) == (int.from_bytes(public, "little") < _FIELD)
    assert not usable(b"")
    assert not usable(bytes(33))
