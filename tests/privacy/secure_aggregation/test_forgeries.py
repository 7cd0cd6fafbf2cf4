"""Messages that are unsigned, made up, exchanged, old, or of another silo."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from privacy.secure_aggregation import client, server
from privacy.secure_aggregation.keys import new_private_key, public_of
from privacy.secure_aggregation.statements import advertised
from protocol.errors import AggregationError
from protocol.identity import Identity
from protocol.secure_aggregation import Advertisement, EncryptedShares, Where
from tests.privacy.secure_aggregation.federation import Federation, identity, manifest_of, names, until_vouched

VICTIM, OTHER = "silo-00", "silo-02"


def one_advertisement(name: str = OTHER, where: Where | None = None, **changes: object) -> Advertisement:
    """A sound advertisement, but of somewhere else."""
    manifest = manifest_of(4, **changes)
    where = where or Where(manifest.job, 1, 0)
    return client.advertise(manifest, name, identity(name), where)[1]


def signed_by(signer: Identity, advertisement: Advertisement) -> Advertisement:
    a = advertisement
    statement = advertised(a.where, a.manifest, a.silo, a.mask_key, a.share_key, a.seed_digest)
    return replace(a, signature=signer.sign(statement))


def with_keys(mask_key: bytes, share_key: bytes) -> Callable[[Federation, Advertisement], Advertisement]:
    """Properly signed by the silo that advertises them."""
    return lambda f, a: signed_by(identity(OTHER), replace(a, mask_key=mask_key, share_key=share_key))


def fresh() -> bytes:
    return public_of(new_private_key())


FORGERIES: dict[str, Callable[[Federation, Advertisement], Advertisement]] = {
    "unsigned": lambda f, a: replace(a, signature=bytes(64)),
    "signature cut": lambda f, a: replace(a, signature=a.signature[:-1]),
    "keys of the aggregator": lambda f, a: replace(a, mask_key=fresh(), share_key=fresh()),
    "keys exchanged": lambda f, a: replace(a, mask_key=a.share_key, share_key=a.mask_key),
    "another seed": lambda f, a: replace(a, seed_digest=bytes(32)),
    "signed by a stranger": lambda f, a: signed_by(Identity(Ed25519PrivateKey.generate()), a),
    "signed by another silo": lambda f, a: signed_by(identity("silo-01"), a),
    "of another silo": lambda f, a: replace(f.advertisements[1], silo=OTHER),
    "of an older round": lambda f, a: one_advertisement(where=Where("job", 0, 0)),
    "of an older attempt": lambda f, a: one_advertisement(where=Where("job", 1, 7)),
    "of another job": lambda f, a: one_advertisement(job="another"),
    "of another manifest": lambda f, a: one_advertisement(parameters={"sigma": 0.1}),
    "of another purpose": lambda f, a: one_advertisement(where=Where("job", 1, 0, "scores/federated/test")),
    "for another purpose, relabelled": lambda f, a: replace(
        one_advertisement(where=Where("job", 1, 0, "scores/federated/test")), where=a.where
    ),
    "older, relabelled": lambda f, a: replace(one_advertisement(where=Where("job", 0, 0)), where=a.where),
    "other manifest, relabelled": lambda f, a: replace(one_advertisement(parameters={}), manifest=a.manifest),
    "key of another silo": lambda f, a: signed_by(identity(OTHER), replace(a, mask_key=f.advertisements[0].mask_key)),
    "another's share key as mask key": lambda f, a: signed_by(
        identity(OTHER), replace(a, mask_key=f.advertisements[0].share_key)
    ),
    "seed of another silo": lambda f, a: signed_by(identity(OTHER), replace(a, seed_digest=f.advertisements[0].seed_digest)),
    "one key twice": lambda f, a: signed_by(identity(OTHER), replace(a, mask_key=a.share_key)),
    "key of small order": with_keys(bytes(32), fresh()),
    "key of small order, the other": with_keys(fresh(), b"\x01" + bytes(31)),
    "key in another form": with_keys(fresh()[:31] + b"\xff", fresh()),
    "key of 31 bytes": with_keys(fresh()[:31], fresh()),
    "a stranger to the roster": lambda f, a: replace(a, silo="silo-99"),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_advertisement_is_refused_by_every_silo_and_by_the_aggregator(
    forge: Callable[[Federation, Advertisement], Advertisement],
) -> None:
    federation = Federation(4)
    federation.advertise()
    genuine = federation.advertisements
    index = names(4).index(OTHER)
    forged = forge(federation, genuine[index])
    assert forged != genuine[index]
    shown = (*genuine[:index], forged, *genuine[index + 1 :])
    with pytest.raises(AggregationError):
        client.share(federation.clients[VICTIM], shown)
    start = server.begin(federation.manifest, federation.where)
    _, kept, refusals = server.gather_advertisements(start, dict(zip(names(4), shown, strict=True)))
    assert list(refusals) == [OTHER]
    assert [a.silo for a in kept] == [name for name in names(4) if name != OTHER]


def test_advertisements_must_hold_the_own_and_be_enough() -> None:
    federation = Federation(4)
    federation.advertise()
    everybody, own = federation.advertisements, federation.clients[VICTIM]
    again = client.advertise(federation.manifest, VICTIM, identity(VICTIM), federation.where)[1]
    for shown in (everybody[1:], (again, *everybody[1:]), everybody[:2], everybody[:1], (), (*everybody, everybody[1])):
        with pytest.raises(AggregationError):
            client.share(own, shown)
    client.share(own, everybody[:3])


def test_a_silo_cannot_advertise_with_another_identity_or_for_another_job() -> None:
    manifest = manifest_of(4)
    with pytest.raises(AggregationError, match="key"):
        client.advertise(manifest, VICTIM, identity(OTHER), Where("job", 1, 0))
    with pytest.raises(AggregationError, match="key"):
        client.advertise(manifest, "silo-99", identity("silo-99"), Where("job", 1, 0))
    for start in (lambda w: client.advertise(manifest, VICTIM, identity(VICTIM), w), lambda w: server.begin(manifest, w)):
        with pytest.raises(AggregationError, match="job"):
            start(Where("another", 1, 0))


def shared(n: int = 4, where: Where | None = None, **changes: object) -> Federation:
    federation = Federation(n, where, **changes)
    federation.advertise()
    federation.share()
    return federation


def elsewhere(where: Where, **changes: object) -> EncryptedShares:
    return next(box for box in shared(4, where, **changes).boxes[OTHER] if box.receiver == VICTIM)


BOXES: dict[str, Callable[[Federation, EncryptedShares], EncryptedShares]] = {
    "changed": lambda f, b: replace(b, sealed=b.sealed[:-1] + bytes([b.sealed[-1] ^ 1])),
    "made up": lambda f, b: replace(b, sealed=bytes(len(b.sealed))),
    "too short": lambda f, b: replace(b, sealed=b.sealed[:20]),
    "for another silo": lambda f, b: next(box for box in f.boxes[OTHER] if box.receiver == "silo-01"),
    "for another silo, relabelled": lambda f, b: replace(
        next(box for box in f.boxes[OTHER] if box.receiver == "silo-01"), receiver=VICTIM
    ),
    "of another silo, relabelled": lambda f, b: replace(
        next(box for box in f.boxes["silo-01"] if box.receiver == VICTIM), sender=OTHER
    ),
    "its own, reflected": lambda f, b: replace(
        next(box for box in f.boxes[VICTIM] if box.receiver == OTHER), sender=OTHER, receiver=VICTIM
    ),
    "twice of one silo": lambda f, b: next(box for box in f.boxes["silo-01"] if box.receiver == VICTIM),
    "of a stranger": lambda f, b: replace(b, sender="silo-99"),
    "of an older round": lambda f, b: elsewhere(Where("job", 0, 0)),
    "of an older attempt": lambda f, b: replace(elsewhere(Where("job", 1, 9)), where=b.where),
    "of another purpose": lambda f, b: replace(elsewhere(Where("job", 1, 0, "scores/alone/test")), where=b.where),
    "of another manifest": lambda f, b: replace(elsewhere(b.where, parameters={}), manifest=b.manifest),
    "of another job": lambda f, b: elsewhere(Where("other", 1, 0), job="other"),
}


@pytest.mark.parametrize("forge", BOXES.values(), ids=BOXES.keys())
def test_forged_shares_are_refused_before_anything_is_masked(
    forge: Callable[[Federation, EncryptedShares], EncryptedShares],
) -> None:
    federation = shared()
    boxes = server.incoming(federation.server, VICTIM)
    genuine = next(box for box in boxes if box.sender == OTHER)
    shown = tuple(forge(federation, box) if box is genuine else box for box in boxes)
    with pytest.raises(AggregationError):
        client.mask(federation.clients[VICTIM], shown, federation.vectors()[VICTIM])
    client.mask(federation.clients[VICTIM], boxes, federation.vectors()[VICTIM])  # and nothing was spoilt


def test_too_few_sharers_are_refused() -> None:
    federation = shared()
    boxes = server.incoming(federation.server, VICTIM)
    with pytest.raises(AggregationError, match="2 silos shared"):
        client.mask(federation.clients[VICTIM], boxes[:1], federation.vectors()[VICTIM])


def test_the_aggregator_refuses_shares_that_are_incomplete_or_in_the_name_of_another() -> None:
    federation = Federation(4)
    federation.advertise()
    boxes = {n: client.share(federation.clients[n], federation.advertisements)[1] for n in names(4)}
    good = boxes[OTHER]
    for bad in (good[:-1], boxes["silo-01"], (*good, good[0]), (replace(good[0], sealed=b""), *good[1:]), ()):
        after, refusals = server.gather_shares(federation.server, boxes | {OTHER: bad})
        assert list(refusals) == [OTHER]
        assert OTHER not in after.silos
        assert all(OTHER not in (box.sender, box.receiver) for box in after.boxes)


def test_vectors_that_do_not_fit_are_refused_on_both_sides() -> None:
    federation = shared()
    boxes, good = server.incoming(federation.server, VICTIM), federation.vectors()[VICTIM]
    for bad in (good[:-1], good.astype("u8"), good.view("i4"), good.reshape(2, -1)):
        with pytest.raises(AggregationError):
            client.mask(federation.clients[VICTIM], boxes, bad)
        with pytest.raises(AggregationError):
            server.add(federation.server, federation.total, VICTIM, bad)
    once = server.add(federation.server, federation.total, VICTIM, good)
    for state, silo in ((once, VICTIM), (once, "silo-99")):
        with pytest.raises(AggregationError):
            server.add(state, federation.total, silo, good)
    assert (federation.total == good).all()


def test_messages_in_the_name_of_another_silo_and_of_strangers_are_refused() -> None:
    federation = Federation(5)
    replies = {n: client.advertise(federation.manifest, n, identity(n), federation.where)[1] for n in names(5)}
    replies[OTHER], replies["silo-99"] = replies["silo-01"], replies["silo-03"]
    _, kept, refusals = server.gather_advertisements(federation.server, replies)
    assert sorted(refusals) == [OTHER, "silo-99"]
    assert OTHER not in {a.silo for a in kept}


def test_a_vouch_or_an_unmasking_by_an_impostor_does_not_count() -> None:
    federation = until_vouched(5)
    forged = replace(federation.vouches[2], signature=Identity(Ed25519PrivateKey.generate()).sign({"any": "thing"}))
    start = replace(federation.server, stage=server.Stage.VOUCHES)
    _, kept, refusals = server.gather_vouches(start, {v.silo: v for v in federation.vouches} | {OTHER: forged})
    assert list(refusals) == [OTHER]
    assert len(kept) == 4
    with pytest.raises(AggregationError, match="not signed"):
        client.unmask(federation.clients[VICTIM], [*federation.vouches[:2], forged, *federation.vouches[3:]])
    with pytest.raises(AggregationError, match="not the identity"):
        client.vouch(federation.clients[VICTIM], identity(OTHER), names(5))
    replies = {n: client.unmask(federation.clients[n], federation.vouches)[1] for n in names(5)}
    stolen = replies | {OTHER: replies["silo-01"]}
    incomplete = replies | {OTHER: replace(replies[OTHER], seeds=replies[OTHER].seeds[1:])}
    older = replies | {OTHER: replace(replies[OTHER], where=Where("job", 0, 0))}
    both = replies | {OTHER: replace(replies[OTHER], keys=replies[OTHER].seeds[:1])}
    foreign = replies | {OTHER: replace(replies[OTHER], manifest="sha256:another")}
    for bad in (stolen, incomplete, older, both, foreign):
        assert list(server.gather_unmaskings(federation.server, bad)[1]) == [OTHER]
