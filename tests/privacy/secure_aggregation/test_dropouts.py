from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from privacy.secure_aggregation import server
from privacy.secure_aggregation.unmasking import open_sum
from protocol.errors import AggregationError
from protocol.secure_aggregation import Share
from tests.privacy.secure_aggregation.federation import Federation, Signed, names, until_vouched

ADVERTISED, SHARED, UPLOADED, VOUCHED, UNMASKED = range(1, 6)


def run(federation: Federation, last: dict[str, int], seed: int = 0) -> Signed:
    """Each silo's last step is `last[name]` (0: it never answers); the sum that the aggregator finds."""
    vectors = federation.vectors(seed)

    def after(step: int) -> list[str]:
        return [name for name, value in last.items() if value >= step]

    federation.advertise(after(ADVERTISED))
    federation.share(after(SHARED))
    federation.upload(vectors, after(UPLOADED))
    federation.vouch(after(VOUCHED))
    federation.unmask(after(UNMASKED))
    return federation.open()


def check(federation: Federation, last: dict[str, int], seed: int = 0) -> bool:
    """The exact sum of the survivors, or a refusal in the first phase in which too few are left, and no share revealed."""
    enough = all(sum(value >= step for value in last.values()) >= federation.manifest.threshold for step in range(1, 6))
    if enough:
        total = run(federation, last, seed)
        survivors = [name for name, value in last.items() if value >= UPLOADED]
        np.testing.assert_array_equal(total, federation.sum_of(federation.vectors(seed), survivors))
        return True
    with pytest.raises(AggregationError):
        run(federation, last, seed)
    if sum(value >= VOUCHED for value in last.values()) < federation.manifest.threshold:
        assert not federation.unmaskings
    return False


@pytest.mark.parametrize("first", range(6))
def test_every_dropout_pattern_of_four_silos_gives_the_exact_sum_or_nothing(first: int) -> None:
    outcomes = [
        check(Federation(4, size=9), dict(zip(names(4), (first, *rest), strict=True)))
        for rest in itertools.product(range(6), repeat=3)
    ]
    # With three of four needed at every step, one silo may stop anywhere: with the first gone early, the rest may not.
    assert sum(outcomes) == (16 if first == UNMASKED else 1)


@settings(max_examples=60)
@given(data=st.data(), n=st.integers(3, 8), width=st.sampled_from([16, 32, 64]), size=st.integers(1, 200))
def test_random_dropouts_give_the_exact_sum_or_nothing(data: st.DataObject, n: int, width: int, size: int) -> None:
    likely = st.sampled_from([UNMASKED] * 6 + [0, ADVERTISED, SHARED, UPLOADED, VOUCHED])
    last = {name: data.draw(likely) for name in names(n)}
    check(Federation(n, size=size, width=width, save=data.draw(st.booleans())), last, seed=data.draw(st.integers(0, 99)))


def test_fifty_silos_with_as_many_dropouts_as_allowed() -> None:
    everybody = names(50)
    last = dict.fromkeys(everybody, UNMASKED) | dict.fromkeys(everybody[3:19], SHARED)
    assert check(Federation(50, size=500), last)


def test_a_vector_longer_than_one_block_is_exact() -> None:
    last = dict.fromkeys(names(4), UNMASKED) | {"silo-02": SHARED}
    assert check(Federation(4, size=(1 << 16) * 2 + 7), last)


def test_fewer_survivors_than_the_noise_was_made_for_are_refused_though_the_threshold_is_met() -> None:
    federation = Federation(4, min_survivors=4)
    federation.advertise()
    federation.share()
    with pytest.raises(AggregationError, match="4 are needed"):
        federation.upload(federation.vectors(), names(4)[:3])


def test_both_sides_survive_a_restart_after_every_step() -> None:
    assert check(Federation(5, save=True), dict.fromkeys(names(5), UNMASKED) | {"silo-01": SHARED})


def test_the_sum_can_be_opened_again_from_what_was_saved_before() -> None:
    federation = until_vouched(4, late=["silo-03"])
    federation.unmask()
    saved, state = federation.total.copy(), federation.server.to_bytes()
    first = federation.open().copy()
    np.testing.assert_array_equal(open_sum(server.ServerState.from_bytes(state), saved), first)


def lie(federation: Federation, liar: str, about: str) -> None:
    """The liar's share of one secret is changed after the aggregator got it."""
    unmasking = federation.unmaskings[liar]
    wrong = tuple(
        replace(s, value=bytes([s.value[0], *s.value[1:-1], s.value[-1] ^ 1])) if s.silo == about else s
        for s in unmasking.seeds
    )
    federation.unmaskings[liar] = replace(unmasking, seeds=wrong)
    state = replace(federation.server, stage=server.Stage.UNMASKINGS)
    federation.server, _ = server.gather_unmaskings(state, federation.unmaskings)


def test_a_silo_that_lies_about_its_shares_is_left_out_if_others_are_enough() -> None:
    federation = until_vouched(4)
    federation.unmask()
    lie(federation, "silo-01", about="silo-02")
    np.testing.assert_array_equal(federation.open(), federation.sum_of(federation.vectors(), names(4)))


def test_a_lie_that_cannot_be_left_out_stops_the_sum_instead_of_changing_it() -> None:
    federation = until_vouched(4)
    federation.unmask(names(4)[:3])
    lie(federation, "silo-01", about="silo-02")
    before = federation.total.copy()
    with pytest.raises(AggregationError, match="do not"):
        federation.open()
    np.testing.assert_array_equal(federation.total, before)


def test_a_share_that_is_no_share_is_refused() -> None:
    federation = until_vouched(4)
    federation.unmask(names(4)[:3])
    unmasking = federation.unmaskings["silo-00"]
    for value in (b"", b"\xff" * 66, unmasking.seeds[0].value[:-1]):
        changed = replace(unmasking, seeds=(Share(unmasking.seeds[0].silo, value), *unmasking.seeds[1:]))
        others = tuple(federation.unmaskings[name] for name in names(4)[1:3])
        with pytest.raises(AggregationError):
            open_sum(replace(federation.server, unmaskings=(changed, *others)), federation.total)
