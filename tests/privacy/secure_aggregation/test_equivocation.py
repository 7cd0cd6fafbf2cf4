"""An aggregator that tells silos different things learns nothing: no silo reveals a share."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from privacy.secure_aggregation import client, server
from protocol.errors import AggregationError
from protocol.secure_aggregation import Vouch, Where
from tests.privacy.secure_aggregation.federation import Federation, identity, names, until_vouched


def uploaded(n: int, where: Where | None = None) -> Federation:
    federation = Federation(n, where)
    federation.advertise()
    federation.share()
    federation.upload(federation.vectors())
    return federation


def nobody_reveals(federation: Federation, vouches: list[Vouch]) -> None:
    for name, state in federation.clients.items():
        # whatever selection of the vouches the aggregator shows
        for shown in (vouches, [v for v in vouches if set(v.survivors) == set(state.survivors)], vouches * 2):
            with pytest.raises(AggregationError):
                client.unmask(state, shown)
        assert federation.clients[name].held


@pytest.mark.parametrize("n", [4, 5, 7, 10])
def test_two_survivor_sets_for_two_groups_reveal_nothing(n: int) -> None:
    federation, everybody = uploaded(n), names(n)
    vouches = []
    for index, name in enumerate(everybody):  # half of the silos are told that the last one dropped out
        survivors = everybody if index % 2 or name == everybody[-1] else everybody[:-1]
        state, vouch = client.vouch(federation.clients[name], identity(name), survivors)
        federation.keep(name, state)
        vouches.append(vouch)
    nobody_reveals(federation, vouches)


@pytest.mark.parametrize("told_the_first", range(8))
def test_colluding_silos_that_vouch_for_both_sets_open_one_set_at_most(told_the_first: int) -> None:
    everybody, federation = names(10), uploaded(10)
    colluders, honest, sets = everybody[:3], everybody[3:], (everybody, everybody[:-1])
    told = {name: sets[0] if index >= len(honest) - told_the_first else sets[1] for index, name in enumerate(honest)}
    told["silo-09"] = sets[0]  # who is said to have dropped out would not sign that itself
    vouches = [client.vouch(federation.clients[c], identity(c), chosen)[1] for c in colluders for chosen in sets]
    for name in honest:
        state, vouch = client.vouch(federation.clients[name], identity(name), told[name])
        federation.keep(name, state)
        vouches.append(vouch)
    seed_shares = key_shares = len(colluders)  # what the colluders know of silo-09
    for name in honest:
        fitting = [vouch for vouch in vouches if set(vouch.survivors) == set(told[name])]
        try:
            revealed = client.unmask(federation.clients[name], fitting)[1]
        except AggregationError:
            continue
        seed_shares += "silo-09" in {share.silo for share in revealed.seeds}
        key_shares += "silo-09" in {share.silo for share in revealed.keys}
    t = federation.manifest.threshold
    assert min(seed_shares, key_shares) < t
    assert min(seed_shares, key_shares) == len(colluders)  # the other set's silos revealed nothing at all


def test_different_sharers_for_different_silos_reveal_nothing() -> None:
    federation = Federation(5)
    federation.advertise()
    federation.share()
    vectors = federation.vectors()
    vouches = []
    for name in names(5)[:4]:  # the first two are told that silo-04 did not share
        boxes = server.incoming(federation.server, name)
        if name in names(5)[:2]:
            boxes = tuple(box for box in boxes if box.sender != "silo-04")
        state, _ = client.mask(federation.clients[name], boxes, vectors[name])
        state, vouch = client.vouch(state, identity(name), names(5)[:4])
        federation.keep(name, state)
        vouches.append(vouch)
    del federation.clients["silo-04"]
    nobody_reveals(federation, vouches)


def test_too_few_vouches_reveal_nothing() -> None:
    federation = until_vouched(4)
    nobody_reveals(federation, list(federation.vouches[:2]))
    nobody_reveals(federation, [federation.vouches[0]] * 4)
    nobody_reveals(federation, [])


def test_vouches_of_another_attempt_reveal_nothing() -> None:
    older, now = until_vouched(4), uploaded(4, Where("job", 1, 1))
    for name, state in now.clients.items():
        now.keep(name, client.vouch(state, identity(name), names(4))[0])
    nobody_reveals(now, list(older.vouches))
    nobody_reveals(now, [replace(vouch, where=now.where) for vouch in older.vouches])


def test_the_vouch_of_a_silo_that_did_not_survive_does_not_count() -> None:
    federation = uploaded(4)
    vouches = [client.vouch(federation.clients[name], identity(name), names(4))[1] for name in names(4)]
    for name in names(4)[:3]:
        federation.keep(name, client.vouch(federation.clients[name], identity(name), names(4)[:3])[0])
    late = replace(vouches[3], survivors=tuple(names(4)[:3]))
    good = [client.vouch(federation.clients[name], identity(name), names(4)[:3])[1] for name in names(4)[:2]]
    with pytest.raises(AggregationError, match="no survivor"):
        client.unmask(federation.clients["silo-00"], [*good, late])


BAD = [names(4)[:2], names(4)[1:], [*names(4)[:3], "silo-99"], [*names(4)[:3], "silo-02"], [], ["silo-00"]]


@pytest.mark.parametrize("survivors", BAD)
def test_survivors_that_are_too_few_strangers_twice_or_not_this_silo_are_refused(survivors: list[str]) -> None:
    federation = uploaded(4)
    with pytest.raises(AggregationError):
        client.vouch(federation.clients["silo-00"], identity("silo-00"), survivors)
    client.vouch(federation.clients["silo-00"], identity("silo-00"), names(4))  # and a sound set still can come


def run(federation: Federation, few: list[str], step: str) -> None:
    """Only `few` take that step."""
    federation.advertise(few if step == "advertise" else None)
    federation.share(few if step == "share" else None)
    federation.upload(federation.vectors(), few if step == "upload" else None)
    federation.vouch(few if step == "vouch" else None)
    federation.unmask(few)


def test_below_the_threshold_no_share_is_sent_in_any_phase() -> None:
    for step in ("advertise", "share", "upload", "vouch", "unmask"):
        federation = Federation(4)
        with pytest.raises(AggregationError):
            run(federation, names(4)[:2], step)
        assert bool(federation.unmaskings) == (step == "unmask")
        with pytest.raises(AggregationError):
            federation.open()
