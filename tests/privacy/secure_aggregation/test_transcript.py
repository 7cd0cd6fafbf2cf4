"""What an aggregator that follows the protocol and looks at everything learns of one silo: nothing beyond the sum."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy import stats

from privacy.secure_aggregation.keys import Context
from privacy.secure_aggregation.masking import Unsigned, add_masks
from privacy.secure_aggregation.shamir import combine
from privacy.secure_aggregation.statements import positions
from tests.privacy.fixed_bits import fix
from tests.privacy.secure_aggregation.federation import Federation, names

SIZE, ME, DROPPED = 1 << 15, "silo-00", "silo-04"
SURVIVORS = names(4)
VERY_UNLIKELY = 1e-4  # the random bytes are fixed: a verdict does not change from run to run


@pytest.fixture(autouse=True)
def _fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch)


def inputs(shift: int) -> dict[str, Unsigned]:
    """Small, structured vectors; silo-00 has `shift` more and silo-01 as much less, so the sum is the same for every shift."""
    ramp = (np.arange(SIZE) % 100).astype("<u4")
    vectors: dict[str, Unsigned] = {name: ramp * index for index, name in enumerate(names(5))}
    vectors[ME] = vectors[ME] + np.asarray(shift, "<u4") * (ramp > 50)
    vectors["silo-01"] = vectors["silo-01"] - np.asarray(shift, "<u4") * (ramp > 50)
    return vectors


def watched(shift: int, path: Path) -> Federation:
    """A whole aggregation; everything that the aggregator ever saw lies in `path`."""
    federation, vectors = Federation(5, size=SIZE), inputs(shift)
    federation.advertise()
    federation.share()
    federation.upload(vectors, SURVIVORS)
    federation.vouch()
    federation.unmask()
    seen = {
        "masked": {name: vector.tobytes() for name, vector in federation.masked.items()},
        "rest": [federation.advertisements, federation.boxes, federation.vouches, federation.unmaskings],
        "state": federation.server.to_bytes(),
        "total": federation.open().tobytes(),
    }
    path.write_bytes(msgspec.msgpack.encode(seen))
    return federation


def learnt(federation: Federation) -> dict[str, Unsigned]:
    """The masked vectors without every mask that the revealed shares open: self-masks, and those towards the dropped silo."""
    place, t = positions(federation.manifest), federation.manifest.threshold
    context = Context(federation.where, federation.server.manifest_digest)
    who = list(federation.unmaskings.values())[:t]
    private = combine({place[u.silo]: share.value for u in who for share in u.keys if share.silo == DROPPED})
    survivors = [a for a in federation.advertisements if a.silo in SURVIVORS]
    rest = {}
    for a in survivors:
        seed = combine({place[u.silo]: share.value for u in who for share in u.seeds if share.silo == a.silo})
        plus, minus = context.pair_keys(private, DROPPED, [a], place)
        rest[a.silo] = add_masks(federation.masked[a.silo], plus, [*minus, context.self_key(seed, a.silo)])
    return rest


def looks_uniform(vector: Unsigned) -> None:
    values = vector.view(np.uint8)
    assert stats.chisquare(np.bincount(values, minlength=256)).pvalue > VERY_UNLIKELY
    bits = np.unpackbits(values.reshape(-1, 4), axis=1).sum(axis=0)  # each of the 32 bits of a value
    assert min(stats.binomtest(int(ones), SIZE).pvalue for ones in bits) > VERY_UNLIKELY
    halves = [np.corrcoef(vector[:-1], vector[1:])[0, 1], np.corrcoef(vector[: SIZE // 2], vector[SIZE // 2 :])[0, 1]]
    assert max(map(abs, halves)) < 5 / np.sqrt(SIZE / 2)


def tells_nothing_of(vector: Unsigned, secret: Unsigned) -> None:
    assert abs(np.corrcoef(vector.astype(float), secret.astype(float))[0, 1]) < 5 / np.sqrt(SIZE)
    high, low = vector[secret > np.median(secret)], vector[secret <= np.median(secret)]
    assert stats.ks_2samp(high, low).pvalue > VERY_UNLIKELY


@pytest.mark.parametrize("shift", [0, 1, 2**31 - 1])
def test_a_masked_vector_looks_uniform_and_tells_nothing_of_the_input(shift: int, tmp_path: Path) -> None:
    federation = watched(shift, tmp_path / "view")
    for name, masked in federation.masked.items():
        looks_uniform(masked)
        if name != ME or shift:
            tells_nothing_of(masked, inputs(shift)[name])


def test_after_every_mask_it_may_open_the_aggregator_can_read_the_whole_sum_only(tmp_path: Path) -> None:
    federation = watched(12345, tmp_path / "view")
    rest, vectors = learnt(federation), inputs(12345)
    for count in (1, 2, 3):
        for group in itertools.combinations(SURVIVORS, count):
            part = sum((rest[name] for name in group[1:]), start=rest[group[0]])
            looks_uniform(part)
            tells_nothing_of(part, vectors[group[-1]])
    everybody = sum((rest[name] for name in SURVIVORS[1:]), start=rest[ME])
    np.testing.assert_array_equal(everybody.view("<i4"), federation.sum_of(vectors, SURVIVORS))


def test_two_inputs_with_one_sum_give_views_that_cannot_be_told_apart(tmp_path: Path) -> None:
    views = [tmp_path / f"view-{shift}" for shift in (0, 2**30 + 77)]
    federations = [watched(shift, path) for shift, path in zip((0, 2**30 + 77), views, strict=True)]
    np.testing.assert_array_equal(*(federation.total for federation in federations))
    assert len({path.stat().st_size for path in views}) == 1
    for name in SURVIVORS:
        for pair in ([f.masked[name] for f in federations], [learnt(f)[name] for f in federations]):
            counts = np.stack([np.bincount(vector.view(np.uint8), minlength=256) for vector in pair])
            assert stats.chi2_contingency(counts).pvalue > VERY_UNLIKELY
            assert stats.ks_2samp(*pair).pvalue > VERY_UNLIKELY
            looks_uniform(pair[0] - pair[1])  # not even the difference of the two runs shows that of the inputs


def test_no_input_and_no_unopened_secret_is_anywhere_in_the_view(tmp_path: Path) -> None:
    federation = Federation(5, size=SIZE)
    federation.advertise()
    secrets = {name: (state.mask_private, state.share_private, state.seed) for name, state in federation.clients.items()}
    federation.share()
    federation.upload(inputs(7), SURVIVORS)
    federation.vouch()
    federation.unmask()
    view = msgspec.msgpack.encode(
        [federation.boxes, federation.advertisements, federation.vouches, federation.unmaskings, federation.server.to_bytes()]
    ) + b"".join(vector.tobytes() for vector in federation.masked.values())
    for name in names(5):
        assert all(secret not in view for secret in secrets[name])
        assert inputs(7)[name][40:50].tobytes() not in view
