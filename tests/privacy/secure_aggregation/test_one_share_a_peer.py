"""A silo reveals one kind of share of a peer, once, for one survivor set; and it masks one vector."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from privacy.secure_aggregation import client, server
from privacy.secure_aggregation.client_state import ClientState, Phase
from protocol.errors import AggregationError
from protocol.secure_aggregation import Unmasking, Vouch, Where
from tests.privacy.secure_aggregation.federation import Federation, identity, names, until_vouched

Through = Callable[[ClientState], ClientState]
WAYS: dict[str, Through] = {
    "as it is": lambda state: state,
    "restarted": lambda state: ClientState.from_bytes(state.to_bytes()),
}
ways = pytest.mark.parametrize("through", WAYS.values(), ids=WAYS.keys())


def until_uploaded(n: int = 4) -> Federation:
    federation = Federation(n)
    federation.advertise()
    federation.share()
    federation.upload(federation.vectors())
    return federation


def vouches_of(federation: Federation, survivors: list[str]) -> list[Vouch]:
    """What the silos would sign if they all were shown these survivors."""
    return [client.vouch(federation.clients[n], federation.identities[n], survivors)[1] for n in survivors]


def secrets_in(state: ClientState) -> set[str]:
    """Of which peers both shares lie in the state."""
    return {held.silo for held in state.held if held.seed and held.key}


def of(unmasking: Unmasking) -> tuple[set[str], set[str]]:
    return {share.silo for share in unmasking.seeds}, {share.silo for share in unmasking.keys}


def test_one_kind_of_share_of_each_silo_is_revealed() -> None:
    federation = until_vouched(5, late=["silo-01"])
    federation.unmask()
    for unmasking in federation.unmaskings.values():
        seeds, keys = of(unmasking)
        assert keys == {"silo-01"}
        assert seeds == set(names(5)) - keys


@ways
@pytest.mark.parametrize("alive_first", [True, False])
def test_both_shares_of_one_silo_are_refused_in_either_order(through: Through, alive_first: bool) -> None:
    # The aggregator has every upload and asks twice: once as if silo-03 survived, once as if it had dropped out.
    federation = until_uploaded()
    sets = [names(4), names(4)[:3]] if alive_first else [names(4)[:3], names(4)]
    vouches = [vouches_of(federation, chosen) for chosen in sets]
    state, _ = client.vouch(through(federation.clients["silo-00"]), identity("silo-00"), sets[0])
    with pytest.raises(AggregationError, match="other survivors"):
        client.vouch(through(state), identity("silo-00"), sets[1])
    with pytest.raises(AggregationError):
        client.unmask(through(state), vouches[1])
    state, revealed = client.unmask(through(state), vouches[0])
    seeds, keys = of(revealed)
    assert not seeds & keys
    for again in vouches[::-1]:
        try:
            state, second = client.unmask(through(state), again)
            assert second == revealed
        except AggregationError:
            assert again is vouches[1]
    with pytest.raises(AggregationError):
        client.vouch(through(state), identity("silo-00"), sets[1])


@ways
def test_from_the_vouch_on_the_state_holds_one_share_a_silo_and_after_revealing_none(through: Through) -> None:
    federation = until_uploaded()
    state = through(federation.clients["silo-00"])
    assert secrets_in(state) == set(names(4))
    state, _ = client.vouch(state, identity("silo-00"), names(4)[:3])
    assert not secrets_in(through(state))
    assert {held.silo: bool(held.seed) for held in state.held} == dict.fromkeys(names(4)[:3], True) | {"silo-03": False}
    state, _ = client.unmask(state, vouches_of(federation, names(4)[:3]))
    assert through(state).held == ()


def test_private_keys_and_the_seed_are_erased_with_the_upload() -> None:
    federation = Federation(3)
    federation.advertise()
    before = federation.clients["silo-00"]
    federation.share()
    federation.upload(federation.vectors())
    after = federation.clients["silo-00"].to_bytes()
    for secret in (before.mask_private, before.share_private, before.seed):
        assert len(secret) == 32
        assert secret not in after


@ways
def test_a_second_masked_upload_is_refused(through: Through) -> None:
    federation = until_uploaded()
    for vector in (federation.vectors()["silo-00"], federation.vectors(seed=1)["silo-00"]):
        with pytest.raises(AggregationError, match="done once"):
            client.mask(through(federation.clients["silo-00"]), server.incoming(federation.server, "silo-00"), vector)


@ways
def test_a_vouch_can_be_repeated_word_for_word(through: Through) -> None:
    federation = until_uploaded()
    state, first = client.vouch(federation.clients["silo-00"], identity("silo-00"), names(4))
    assert client.vouch(through(state), identity("silo-00"), names(4)[::-1]) == (through(state), first)


@pytest.mark.parametrize("phase", list(Phase))
def test_steps_out_of_order_are_refused(phase: Phase) -> None:
    federation = until_vouched(4)
    federation.unmask()
    done = federation.clients["silo-00"]
    state = replace(done, phase=phase)
    steps: dict[Phase, Callable[[], object]] = {
        Phase.ADVERTISED: lambda: client.share(state, federation.advertisements),
        Phase.SHARED: lambda: client.mask(state, (), federation.vectors()["silo-00"]),
        Phase.MASKED: lambda: client.vouch(state, identity("silo-00"), names(4)),
        Phase.VOUCHED: lambda: client.unmask(state, federation.vouches),
    }
    for allowed, step in steps.items():
        # An aggregator that was killed asks again: the same word and the same shares, and nothing else.
        repeated = (allowed is Phase.MASKED and phase in (Phase.VOUCHED, Phase.UNMASKED)) or (
            allowed is Phase.VOUCHED and phase is Phase.UNMASKED
        )
        if allowed is not phase and not repeated:
            with pytest.raises(AggregationError, match="done once"):
                step()


@ways
def test_a_vouch_can_be_repeated_word_for_word_after_unmasking_and_only_for_the_same_survivors(through: Through) -> None:
    federation = until_vouched(4)
    first = federation.vouches[0]
    federation.unmask()
    done = through(federation.clients[first.silo])
    assert client.vouch(done, identity(first.silo), first.survivors) == (done, first)
    with pytest.raises(AggregationError, match="other survivors"):
        client.vouch(done, identity(first.silo), [name for name in names(4) if name != "silo-03"])


def test_an_attempt_that_is_not_later_than_the_last_is_refused() -> None:
    federation = Federation(3, Where("job", 2, 1))
    federation.advertise()
    last = federation.clients["silo-00"]
    for where in (Where("job", 2, 1), Where("job", 2, 0), Where("job", 1, 9)):
        with pytest.raises(AggregationError, match="not later"):
            client.advertise(federation.manifest, "silo-00", identity("silo-00"), where, last)
    for where in (Where("job", 2, 2), Where("job", 3, 0)):
        client.advertise(federation.manifest, "silo-00", identity("silo-00"), where, last)


def test_a_state_shows_no_secret_when_printed() -> None:
    federation = until_uploaded()
    state = federation.clients["silo-00"]
    printed = f"{state!r} {state} {state.held!r}"
    assert all(repr(held.seed) not in printed and repr(held.key) not in printed for held in state.held)
    assert "silo-00" in printed


@pytest.mark.parametrize("data", [b"", b"\x80", b"not a state"])
def test_a_damaged_state_is_refused(data: bytes) -> None:
    for kind in (ClientState, server.ServerState):
        with pytest.raises(AggregationError, match="damaged"):
            kind.from_bytes(data)
