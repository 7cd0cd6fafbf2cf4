from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.secure_aggregation import shamir
from privacy.secure_aggregation.keys import Context, loaded, new_private_key, public_of
from privacy.secure_aggregation.masking import BLOCK_BYTES, Unsigned, add_masks, dtype_of
from protocol.errors import AggregationError
from protocol.secure_aggregation import Where
from tests.privacy.secure_aggregation.federation import Federation

CONTEXT = Context(Where("job", 1, 0), "sha256:manifest")
SEED = bytes(range(32))


def mask_of(seed: bytes, size: int = 4096, context: Context = CONTEXT) -> Unsigned:
    """A silo's self-mask, from its seed on."""
    return add_masks(np.zeros(size, dtype=np.uint32), [context.self_key(seed, "a")], [])


def unrelated(one: Unsigned, other: Unsigned) -> bool:
    """Two masks agree in half of their bits and in no run of words, whatever the shift between them."""
    bits = np.unpackbits((one ^ other).view(np.uint8))
    return abs(bits.mean() - 0.5) < 0.02 and len(np.intersect1d(one, other)) < 20


@pytest.mark.parametrize("byte", range(32))
def test_seeds_that_differ_in_any_one_byte_give_unrelated_masks(byte: int) -> None:
    changed = bytearray(SEED)
    changed[byte] ^= 1
    assert unrelated(mask_of(SEED), mask_of(bytes(changed)))


@pytest.mark.parametrize("word", range(1, 8))
def test_seeds_with_two_words_exchanged_give_unrelated_masks(word: int) -> None:
    # Folding the words of a seed into one (as done elsewhere) makes these two masks equal.
    words = [SEED[start : start + 4] for start in range(0, 32, 4)]
    words[0], words[word] = words[word], words[0]
    assert unrelated(mask_of(SEED), mask_of(b"".join(words)))


def test_one_seed_gives_unrelated_masks_in_another_place() -> None:
    contexts = [
        CONTEXT,
        Context(Where("job", 2, 0), "sha256:manifest"),
        Context(Where("job", 1, 1), "sha256:manifest"),
        Context(Where("other", 1, 0), "sha256:manifest"),
        Context(Where("job", 1, 0), "sha256:other"),
        Context(Where("job", 1, 0, "scores/federated/test"), "sha256:manifest"),
    ]
    masks = [mask_of(SEED, context=context) for context in contexts]
    assert all(unrelated(masks[0], other) for other in masks[1:])


def test_masks_are_the_aes_256_counter_stream_from_zero() -> None:
    key, n = b"k" * 32, BLOCK_BYTES // 4 + 1000
    ecb = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    blocks = b"".join(ecb.update(counter.to_bytes(16, "big")) for counter in range(n // 4))
    np.testing.assert_array_equal(add_masks(np.zeros(n, "<u4"), [key], []), np.frombuffer(blocks, "<u4"))


@settings(max_examples=25)
@given(width=st.sampled_from([16, 32, 64]), size=st.integers(0, 9000), in_place=st.booleans())
def test_what_is_added_comes_off_again(width: int, size: int, in_place: bool) -> None:
    keys = [bytes([index]) * 32 for index in range(5)]
    vector = np.arange(size, dtype=dtype_of(width))
    masked = add_masks(vector.copy(), keys[:3], keys[3:])
    if size > 20:
        assert (masked != vector).mean() > 0.9
    again = add_masks(masked, keys[3:], keys[:3], out=masked if in_place else None)
    np.testing.assert_array_equal(again, vector)


def test_masks_of_a_long_vector_do_not_repeat_from_block_to_block() -> None:
    block = BLOCK_BYTES // 4
    mask = mask_of(SEED, 4 * block).reshape(4, block)
    assert all(unrelated(one, other) for one, other in pairwise(mask[:, :4096]))


def test_progress_counts_every_value() -> None:
    done: list[int] = []
    add_masks(np.zeros(200_001, np.uint32), [b"k" * 32], [], progress=done.append)
    assert sum(done) == 200_001
    assert len(done) > 1


@given(secret=st.binary(min_size=32, max_size=32), n=st.integers(1, 12), data=st.data())
def test_any_t_shares_give_the_secret(secret: bytes, n: int, data: st.DataObject) -> None:
    t = data.draw(st.integers(1, n))
    shares = shamir.split(secret, t, range(1, n + 1))
    chosen = data.draw(st.permutations(range(1, n + 1)))[:t]
    assert shamir.combine({point: shares[point] for point in chosen}) == secret


@pytest.mark.parametrize("t", [2, 3, 7, 34])
def test_one_share_less_does_not_give_the_secret_and_sharing_again_gives_other_shares(t: int) -> None:
    shares, again = (shamir.split(SEED, t, range(1, 51)) for _ in range(2))
    assert not set(shares.values()) & set(again.values())
    for missing in range(1, t + 1):  # of a polynomial of lower degree any t - 1 shares would do
        with pytest.raises(AggregationError):  # what comes out is anywhere in the field, so with a chance of 2^-265 32 bytes
            shamir.combine({point: shares[point] for point in range(1, t + 1) if point != missing})


def test_fewer_shares_fit_every_secret() -> None:
    shares = shamir.split(b"s" * 32, 3, [1, 2, 3])
    # t - 1 shares and any other secret at 0 lie on one polynomial: interpolate it and look.
    other = int.from_bytes(b"o" * 32, "big")
    points, values = [0, 1, 2], [other, *(int.from_bytes(shares[point], "big") for point in (1, 2))]
    at_three = 0
    for point, value in zip(points, values, strict=True):
        above = below = 1
        for x in points:
            if x != point:
                above, below = above * (3 - x), below * (point - x)
        at_three += value * above * pow(below, -1, shamir.PRIME)
    forged = (at_three % shamir.PRIME).to_bytes(shamir.SHARE_BYTES, "big")
    assert shamir.combine({1: shares[1], 2: shares[2], 3: forged}) == b"o" * 32


def test_shares_that_do_not_fit_are_refused() -> None:
    shares = shamir.split(b"s" * 32, 3, [1, 2, 3])
    with pytest.raises(AggregationError, match="fit each other"):
        shamir.combine({1: shares[2], 2: shares[1], 3: shares[3]})
    for points, secret, t in (([1, 1], bytes(32), 1), ([0, 1], bytes(32), 1), ([1], bytes(31), 1), ([1], bytes(32), 0)):
        with pytest.raises(AggregationError):
            shamir.split(secret, t, points)


def test_a_box_opens_for_its_receiver_only_and_where_it_was_sealed() -> None:
    ours, theirs = new_private_key(), new_private_key()
    box = CONTEXT.seal(loaded(ours), public_of(theirs), "a", "b", b"plain")
    assert CONTEXT.open(loaded(theirs), public_of(ours), "a", "b", box) == b"plain"
    elsewhere = Context(Where("job", 1, 1), "sha256:manifest")
    for context, private, sender, receiver, sealed in (
        (elsewhere, theirs, "a", "b", box),
        (CONTEXT, new_private_key(), "a", "b", box),
        (CONTEXT, theirs, "b", "a", box),  # reflected
        (CONTEXT, theirs, "c", "b", box),
        (CONTEXT, theirs, "a", "b", box[:-1] + bytes([box[-1] ^ 1])),
        (CONTEXT, theirs, "a", "b", b""),
    ):
        with pytest.raises(AggregationError):
            context.open(loaded(private), public_of(ours), sender, receiver, sealed)


def test_no_key_seed_or_nonce_is_used_in_two_attempts() -> None:
    seen: set[bytes] = set()
    for attempt in range(3):
        federation = Federation(3, Where("job", 1, attempt))
        federation.advertise()
        federation.share()
        fresh = [key for a in federation.advertisements for key in (a.mask_key, a.share_key, a.seed_digest)]
        fresh += [s for state in federation.clients.values() for s in (state.mask_private, state.share_private, state.seed)]
        fresh += [box.sealed[:12] for boxes in federation.boxes.values() for box in boxes]
        assert len(set(fresh)) == len(fresh)
        assert not seen & set(fresh)
        seen |= set(fresh)
