from __future__ import annotations

from typing import Any

import msgspec
import pytest

from privacy.secure_aggregation import client, server
from privacy.secure_aggregation.manifest import (
    Rules,
    check_manifest,
    check_sound,
    default_colluders,
    least_threshold,
    manifest_digest,
)
from protocol.errors import AggregationError
from protocol.secure_aggregation import Manifest, Member, Where
from tests.privacy.secure_aggregation.federation import identity, manifest_of

ME = "silo-00"


def check(manifest: Manifest, me: str = ME, **changes: Any) -> None:
    """Against the rules of four silos."""
    pinned = changes.pop("pinned", manifest_of(4).roster)
    values: dict[str, Any] = {"job": "job", "plan_digest": "sha256:plan", "size": 40, "width_bits": 32}
    check_manifest(manifest, pinned, me, identity(me).public_key, Rules(**values | changes))


def test_a_sound_manifest_passes() -> None:
    check(manifest_of(4), min_survivors=3, colluders=1, parameters={"sigma": 1.5}, min_silos=4)
    check(manifest_of(4), pinned=manifest_of(4).roster[::-1])


@pytest.mark.parametrize("n", range(3, 51))
def test_with_the_default_rules_two_survivor_sets_cannot_both_be_vouched_for(n: int) -> None:
    t, c = least_threshold(n), default_colluders(n)
    assert 2 * t - n > c  # the silos in both sets: one of them at least is honest, and signs once
    assert t <= n
    check_sound(manifest_of(n))


@pytest.mark.parametrize("n", [0, 1, 2, 51])
def test_a_roster_of_one_or_two_or_too_many_is_refused_by_everybody(n: int) -> None:
    manifest = manifest_of(n, threshold=1, min_survivors=1, colluders=0)
    for refuse in (
        lambda: check(manifest, pinned=manifest.roster),
        lambda: client.advertise(manifest, ME, identity(ME), Where("job", 1, 0)),
        lambda: server.begin(manifest, Where("job", 1, 0)),
    ):
        with pytest.raises(AggregationError, match="only among 3 to 50"):
            refuse()


@pytest.mark.parametrize("threshold", [-1, 0, 1, 2, 5])
def test_a_threshold_that_the_aggregator_chose_is_refused(threshold: int) -> None:
    manifest = manifest_of(4, threshold=threshold, min_survivors=4)
    with pytest.raises(AggregationError, match="threshold"):
        check(manifest)
    with pytest.raises(AggregationError, match="threshold"):
        client.advertise(manifest, ME, identity(ME), Where("job", 1, 0))


@pytest.mark.parametrize("n", [7, 10, 50])
def test_a_threshold_below_two_thirds_is_refused_even_if_nobody_colludes(n: int) -> None:
    check_sound(manifest_of(n, colluders=0))
    with pytest.raises(AggregationError, match="threshold"):
        check_sound(manifest_of(n, colluders=0, threshold=least_threshold(n) - 1))


def test_a_roster_that_pins_another_key_for_this_silo_is_refused() -> None:
    manifest = manifest_of(4)
    for me, key in ((ME, identity("stranger").public_key), ("silo-99", identity("silo-99").public_key)):
        with pytest.raises(AggregationError, match="with this silo's key"):
            check_manifest(manifest, manifest.roster, me, key, Rules("job", "sha256:plan", 40, 32))


ROSTER = manifest_of(4).roster
STRANGER = Member("silo-03", identity("stranger").public_key)
UNSOUND: dict[str, dict[str, Any]] = {
    "survivors below the threshold": {"min_survivors": 2},
    "more survivors than silos": {"min_survivors": 5},
    "too many colluders for the threshold": {"colluders": 2},
    "negative colluders": {"colluders": -1},
    "a name twice": {"roster": (*ROSTER[:3], Member("silo-00", STRANGER.public_key))},
    "a key twice": {"roster": (*ROSTER[:3], Member("silo-03", ROSTER[0].public_key))},
    "no name": {"roster": (*ROSTER[:3], Member("", STRANGER.public_key))},
    "a short key": {"roster": (*ROSTER[:3], Member("silo-03", b"short"))},
    "another schema": {"schema": "fedward.secure-aggregation/0"},
    "an odd width": {"width_bits": 31},
    "no values": {"size": 0},
}


@pytest.mark.parametrize("changes", UNSOUND.values(), ids=UNSOUND.keys())
def test_an_unsound_manifest_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(AggregationError, match="refused"):
        check_sound(manifest_of(4, **changes))


FOREIGN: dict[str, dict[str, Any]] = {
    "a key that is not pinned": {"roster": (*ROSTER[:3], STRANGER)},
    "a silo more": {"roster": (*ROSTER, Member("silo-04", STRANGER.public_key)), "threshold": 4, "min_survivors": 4},
    "a silo less": {"roster": ROSTER[:3]},
    "a silo by another name": {"roster": (*ROSTER[:3], Member("silo-3", ROSTER[3].public_key))},
    "two keys exchanged": {
        "roster": (*ROSTER[:2], Member("silo-02", ROSTER[3].public_key), Member("silo-03", ROSTER[2].public_key))
    },
    "not this silo": {"roster": (*ROSTER[1:], Member("silo-04", STRANGER.public_key))},
    "another's key for this silo": {"roster": (Member(ME, STRANGER.public_key), *ROSTER[1:])},
    "another job": {"job": "another"},
    "another plan": {"plan_digest": "sha256:another"},
    "another size": {"size": 41},
    "another width": {"width_bits": 64},
}


@pytest.mark.parametrize("changes", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_manifest_that_is_not_what_the_hospital_knows_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(AggregationError, match="Nothing was sent"):
        check(manifest_of(4, **changes))


@pytest.mark.parametrize(
    "rules", [{"min_silos": 5}, {"min_survivors": 4}, {"colluders": 2}, {"parameters": {"sigma": 2.0}}, {"parameters": {}}]
)
def test_a_manifest_weaker_than_the_plan_is_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(AggregationError, match="the plan"):
        check(manifest_of(4), **rules)


def test_every_field_is_part_of_the_digest() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"schema": "s"},
        {"job": "other"},
        {"plan_digest": "other"},
        {"roster": ROSTER[::-1]},
        {"threshold": 4},
        {"min_survivors": 4},
        {"colluders": 0},
        {"size": 41},
        {"width_bits": 64},
        {"parameters": {"sigma": 1.25}},
    ]
    assert {key for change in changes for key in change} == set(Manifest.__struct_fields__)
    assert len({manifest_digest(manifest_of(4, **change)) for change in changes}) == len(changes)


@pytest.mark.parametrize("value", [float("nan"), 2**60, b"bytes"])
def test_parameters_that_are_no_json_are_refused(value: object) -> None:
    with pytest.raises(AggregationError, match="canonical JSON"):
        manifest_digest(manifest_of(4, parameters={"x": value}))


def test_a_manifest_travels_as_it_is_and_nothing_else_does() -> None:
    manifest = manifest_of(4)
    data = msgspec.msgpack.encode(manifest)
    assert msgspec.msgpack.decode(data, type=Manifest) == manifest
    more = msgspec.msgpack.encode(msgspec.to_builtins(manifest, builtin_types=(bytes,)) | {"count": 3})
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(more, type=Manifest)
